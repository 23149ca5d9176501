"""The style of a report's page: on a screen, light or dark, on a phone, and on paper."""

STYLE = """\
:root { color-scheme: light; --text: #111; --faint: #555; --page: #fff; --rule: #ccc;
  --strong: #111; --link: #0b5394; --failed: #fbdcd8; --restless: #fff1c9; --code: #f5f5f5;
  --shadow: rgba(0, 0, 0, 0.3); }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --text: #e8e8e8; --faint: #aaa; --page: #16181c; --rule: #3a3d44;
    --strong: #bbb; --link: #8ab8f0; --failed: #5b2a26; --restless: #4d4216; --code: #202329;
    --shadow: rgba(255, 255, 255, 0.35); }
}
body { margin: 0 auto; max-width: 84rem; padding: 1rem; color: var(--text);
  background: var(--page); font: 1rem/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin-top: 2.5rem; border-bottom: 2px solid var(--strong); }
p, li, dl, figcaption { max-width: 48rem; overflow-wrap: anywhere; }
.findings p { margin: 0.35rem 0; }
.findings .verdict { font-size: 1.15rem; font-weight: 600; }
.note, figcaption { color: var(--faint); font-size: 0.9rem; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; padding: 0; list-style: none; }
a { color: var(--link); }
dt { font-weight: 600; }
dd { margin: 0 0 0.4rem 1.25rem; }
/* A table that does not fit scrolls, with a shadow at the edge behind which it goes on. */
.wide { overflow-x: auto; margin: 1.25rem 0; background:
  linear-gradient(to right, var(--page) 40%, transparent) left / 3rem 100% no-repeat local,
  linear-gradient(to left, var(--page) 40%, transparent) right / 3rem 100% no-repeat local,
  linear-gradient(to right, var(--shadow), transparent) left / 0.8rem 100% no-repeat scroll,
  linear-gradient(to left, var(--shadow), transparent) right / 0.8rem 100% no-repeat scroll; }
table { border-collapse: separate; border-spacing: 0; font-size: 0.85rem;
  font-variant-numeric: tabular-nums; }
caption { padding: 0.25rem 0; font-weight: 600; text-align: left; }
caption span { display: inline-block; position: sticky; left: 0; overflow-wrap: anywhere;
  max-width: min(80rem, 100vw - 2rem); }
th, td { padding: 0.2rem 0.7rem 0.2rem 0; text-align: left; vertical-align: top;
  white-space: nowrap; border-bottom: 1px solid var(--rule); }
thead th { border-bottom: 1px solid var(--strong); vertical-align: bottom; }
tbody th { font-weight: normal; }
tr > :first-child { position: sticky; left: 0; background: var(--page); }
.words td:last-child { min-width: 18rem; white-space: normal; overflow-wrap: anywhere; }
.failed > *, .failed > :first-child { background: var(--failed); }
.restless > *, .restless > :first-child { background: var(--restless); }
figure { margin: 1.25rem 0; }
figcaption { margin-top: 0.4rem; }
.card { box-sizing: border-box; width: fit-content; max-width: 100%; overflow-x: auto;
  padding: 0.5rem; border: 1px solid var(--rule); border-radius: 0.4rem; background: #fff; }
.card > * { display: block; max-width: max(100%, 44rem); height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
svg text { fill: #000; white-space: pre; }
pre { padding: 0.75rem; border: 1px solid var(--rule); border-radius: 0.4rem;
  background: var(--code); font-size: 0.85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.command { user-select: all; }
@media (max-width: 40rem) {
  .words td:last-child { min-width: 11rem; }
  tr > :first-child { max-width: 40vw; white-space: normal; overflow-wrap: break-word; }
}
@media print {
  :root { font-size: 9pt; }
  body { max-width: none; padding: 0; }
  nav { display: none; }
  h2, h3, caption, thead, dt { break-after: avoid; }
  figure, .wide, tr, dl > *, .findings { break-inside: avoid; }
  .wide, .card { overflow: visible; background: none; }
  .card { padding: 0; border: 0; }
  .card > * { max-width: 100%; }
  table { font-size: 7pt; }
  caption span, tr > :first-child { position: static; }
  th, td { padding-right: 0.4rem; white-space: normal; }
  .words td:last-child { min-width: 0; }
}
"""
