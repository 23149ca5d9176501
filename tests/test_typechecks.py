"""Checks of types that are made once are those of each definition: nothing is let through."""

import inspect

import numpy as np
import pytest
import typechecks
from beartype import beartype
from jaxtyping import Float, TypeCheckError, _decorator, jaxtyped

TWO, THREE = Float[np.ndarray, "2"], Float[np.ndarray, "3"]


def shortened(number, kind):
    """A function that is defined anew, and checked, as those of the package are under the hook."""

    @jaxtyped(typechecker=beartype)
    def inner(x: THREE, default: float = 0.5) -> kind:
        return x[:number] + default

    return inner


@pytest.mark.parametrize("remembered", [True, False])
def test_each_definition_is_checked(remembered, monkeypatch):
    """In its arguments and its result, after definitions that were right, and of other types."""
    if not remembered:
        for name in ("_make_fn_with_signature", "_apply_typechecker"):
            monkeypatch.setattr(_decorator, name, inspect.unwrap(getattr(_decorator, name)))
    for _ in range(2):
        assert shortened(2, TWO)(np.zeros(3)).shape == (2,)
        assert shortened(3, THREE)(np.zeros(3)).shape == (3,)
        for number, kind, size in ((3, TWO, 3), (2, THREE, 3), (2, TWO, 2)):
            with pytest.raises(TypeCheckError):
                shortened(number, kind)(np.zeros(size))


def test_equal_signatures_are_asked_for_once(monkeypatch):
    made = []

    def make(*arguments, **options):
        made.append(arguments)
        return original(*arguments, **options)

    original = inspect.unwrap(_decorator._make_fn_with_signature)
    monkeypatch.setattr(_decorator, "_make_fn_with_signature", typechecks.remembered(make))
    for _ in range(3):
        shortened(2, TWO)
    first = len(made)
    shortened(2, THREE)
    assert (first, len(made)) == (2, 3)  # arguments and result; another result
