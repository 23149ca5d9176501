"""The error that a user can act on. Imports nothing, so that the command line answers at once."""


class InputError(ValueError):
    """Input that cannot be used. The message says what was given and what to write instead."""


class OwnFailure(InputError):
    """What the user's own code gives in the middle of a run, which then leaves nothing behind."""


class NotApplicable(InputError):
    """A theory was asked about an ensemble that it does not describe. The message says why."""


TRACING_ERRORS = (
    TypeError, ValueError, AttributeError, LookupError, NameError, ArithmeticError, AssertionError,
    RuntimeError,
)  # fmt: skip
"""The errors of a user's function that cannot be traced, besides mistakes of its own."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, its kind where it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
