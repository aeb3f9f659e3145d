"""Everything Meander raises on purpose.

::

    MeanderError
    ├── BadRecord          one record is malformed: it is parked in dead-letters, processing goes on
    ├── SettingsError      a setting is missing, unknown or contradicts another
    ├── LogError           a file given as an event log or data set cannot be read as one
    ├── TopicError         a topic exists with settings that Meander cannot work with
    ├── BrokerError        the broker is unreachable or refused a request (retriable says whether to try again)
    ├── StoreError         the model store refused: missing, torn or corrupt version
    ├── StateError         a snapshot cannot be restored
    ├── ProcessError       a supervised process ended on its own
    └── TrainingError      a training did not end with a model
"""

from __future__ import annotations


class MeanderError(Exception):
    """Base of all errors of this package; its text is one line that names what to do."""

    retriable: bool = False


class BadRecord(MeanderError):  # noqa: N818 - it describes the record, and is caught by name in the loop
    """A record breaks a rule of its schema.

    >>> str(BadRecord("at", "RFC 3339 or epoch milliseconds", "yesterday"))
    "at must be RFC 3339 or epoch milliseconds, got 'yesterday'"
    """

    def __init__(self, field: str, rule: str, value: object) -> None:
        shown = repr(value)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        super().__init__(f"{field} must be {rule}, got {shown}")
        self.field, self.rule, self.value = field, rule, value


class SettingsError(MeanderError):
    """A setting is missing, unknown, out of range or contradicts another."""


class LogError(MeanderError):
    """A file given as an event log or data set cannot be read as one."""


class TopicError(MeanderError):
    """A topic exists with settings that Meander cannot work with."""


class BrokerError(MeanderError):
    """The broker is unreachable or refused a request."""

    def __init__(self, message: str, *, retriable: bool = False) -> None:
        super().__init__(message)
        self.retriable = retriable


class StoreError(MeanderError):
    """The model store refused: a version is missing, torn or corrupt."""


class StateError(MeanderError):
    """A snapshot cannot be restored: another format, or damaged."""


class ProcessError(MeanderError):
    """A supervised process ended on its own."""


class TrainingError(MeanderError):
    """A training did not end with a model."""
