"""Structured logs on stderr: `key=value` on a terminal, JSON elsewhere; the libraries' own lines in the same form."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

# said at WARNING by the Kafka client whenever a broker is away for a moment; the loop says it once, in its own words
_CHATTY = {"kafka": logging.ERROR} | dict.fromkeys(
    ("kafka.net", "kafka.cluster", "kafka.coordinator", "kafka.consumer.fetcher"), logging.CRITICAL
)


def configure(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Set up logging for this process; to be called once, by the entry point.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
        stream: where to; stderr by default.
    """
    out = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    order = ["timestamp", "level", "consumer", "event", "where"]
    form: structlog.typing.Processor = (
        structlog.processors.KeyValueRenderer(key_order=order, drop_missing=True, repr_native_str=False)
        if out.isatty()
        else structlog.processors.JSONRenderer(default=str)
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, form],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in _CHATTY.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
