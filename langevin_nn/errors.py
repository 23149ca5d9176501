"""The error that a user can act on. Imports nothing, so that the command line answers at once."""


class InputError(ValueError):
    """Input that cannot be used. The message says what was given and what to write instead."""


class NotApplicable(InputError):
    """A theory was asked about an ensemble that it does not describe. The message says why."""
