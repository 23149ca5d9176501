"""What a few columns V add to an action: F = log det H − gᵀH⁻¹g.

With D = (T + Q e)⁻¹ diagonal in the eigenbasis, H = 1 + VᵀD V and g = VᵀD ỹ (the matrix determinant
lemma and Woodbury's identity, for A = D⁻¹ + V Vᵀ). A derivative of F in parameters a, b of D or V
takes those of H and g alone: with h = H⁻¹g,

    F_a  = tr H⁻¹H_a − 2 g_aᵀh + hᵀH_a h
    F_ab = tr H⁻¹H_ab − tr H⁻¹H_a H⁻¹H_b − 2 g_abᵀh + hᵀH_ab h − 2 (g_a − H_a h)ᵀH⁻¹(g_b − H_b h).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["ColumnTerms", "Form", "Numbers", "first_derivative", "second_derivative", "value"]


Numbers = float | Float[np.ndarray, "*n"]


class Form(NamedTuple):
    """H = 1 + VᵀD V and g = VᵀDỹ, or a derivative of them: (…, r, r), (…, r). See `value`."""

    core: Float[np.ndarray, "*n r r"]
    projection: Float[np.ndarray, "*n r"]


class ColumnTerms(NamedTuple):
    """H = 1 + VᵀD V and g = VᵀDỹ, with two derivatives in q = log Q. See `value`."""

    base: Form
    first: Form
    second: Form

    @classmethod
    def of(
        cls,
        signal: Float[np.ndarray, "*n P"],
        spectrum: Float[np.ndarray, "*n P"],
        targets: Float[np.ndarray, " P"],
        columns: Float[np.ndarray, "P r"],
    ) -> "ColumnTerms":
        """The terms from Q e and T + Q e (…, P), ỹ (P,) and V (P, r).

        They take D' = −Q e D² and D'' = −Q e D² + 2 (Q e)² D³.
        """
        share = signal / spectrum  # first: the squares and cubes of a low T are zero
        slope = -share / spectrum
        diagonals = 1 / spectrum, slope, slope + 2 * share**2 / spectrum
        forms = [
            Form(
                np.einsum("...p,pr,ps->...rs", diagonal, columns, columns),
                np.einsum("...p,pr->...r", diagonal * targets, columns),
            )
            for diagonal in diagonals
        ]
        core = forms[0].core + np.eye(columns.shape[1])
        return cls(forms[0]._replace(core=core), *forms[1:])


def value(terms: ColumnTerms) -> Numbers:
    """F = log det H − gᵀH⁻¹g, a number or of shape (…,).

    With P = r = 1, e = y = V = 1 and T = 0 it is log(1 + D) − D²/(1 + D), D = 1/Q; at Q = 1:

    >>> terms = ColumnTerms.of(np.ones(1), np.ones(1), np.ones(1), np.ones((1, 1)))
    >>> print(f"{value(terms):.9f} {np.log(2) - 1 / 2:.9f}")
    0.193147181 0.193147181
    """
    base = terms.base
    return np.linalg.slogdet(base.core)[1] - np.sum(
        base.projection * _solved(base, base.projection), axis=-1
    )


def first_derivative(terms: ColumnTerms, direction: Form | None = None) -> Numbers:
    """The derivative F_a for H_a, g_a in `direction`; dF/dq if left out.

    In the example of `value`, dF/dq = −D/(1 + D) + D²(2 + D)/(1 + D)²:

    >>> terms = ColumnTerms.of(np.ones(1), np.ones(1), np.ones(1), np.ones((1, 1)))
    >>> print(f"{first_derivative(terms):.9f}")
    0.250000000
    """
    base, along = terms.base, direction or terms.first
    h = _solved(base, base.projection)
    trace = np.trace(np.linalg.solve(base.core, along.core), axis1=-2, axis2=-1)
    return trace - 2 * np.sum(along.projection * h, axis=-1) + _sandwich(h, along.core, h)


def second_derivative(
    terms: ColumnTerms,
    one: Form | None = None,
    other: Form | None = None,
    both: Form | None = None,
) -> Numbers:
    """The second derivative F_ab, in a (`one`), b (`other`) and `both`; d²F/dq² if left out.

    In the example of `value`:

    >>> terms = ColumnTerms.of(np.ones(1), np.ones(1), np.ones(1), np.ones((1, 1)))
    >>> print(f"{second_derivative(terms):.9f}")
    -0.750000000
    """
    base = terms.base
    a, b, ab = one or terms.first, other or terms.first, both or terms.second
    h = _solved(base, base.projection)
    products = np.linalg.solve(base.core, a.core) @ np.linalg.solve(base.core, b.core)
    move_a, move_b = (
        form.projection - np.einsum("...rs,...s->...r", form.core, h) for form in (a, b)
    )
    curved = first_derivative(terms, ab)
    return (
        curved
        - np.trace(products, axis1=-2, axis2=-1)
        - 2 * np.sum(move_a * _solved(base, move_b), axis=-1)
    )


def _solved(base: Form, vector: Float[np.ndarray, "*n r"]) -> Float[np.ndarray, "*n r"]:
    return np.linalg.solve(base.core, vector[..., None])[..., 0]


def _sandwich(left: np.ndarray, middle: np.ndarray, right: np.ndarray) -> Numbers:
    return np.einsum("...r,...rs,...s->...", left, middle, right)
