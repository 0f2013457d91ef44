from __future__ import annotations

import logging
from typing import Any

from headrace.core.failurelog import MOST, WINDOW, FailureLog

LOG = logging.getLogger("headrace.gateway")


def test_a_storm_of_failures_is_a_few_lines_and_a_count(caplog: Any) -> None:
    log = FailureLog(LOG)
    for number in range(1000):
        log.tell(number / 1000, f"req_{number}", "llm", "server_error", "one answered 500")
    assert [record.args[0] for record in caplog.records] == [f"req_{number}" for number in range(MOST)]
    assert caplog.records[0].message == "request req_0 to 'llm': one answered 500 (server_error)"
    log.tell(WINDOW, "req_later", "llm", "server_error", "one answered 500")
    assert caplog.records[-1].message.endswith("(server_error; 995 more failed so since the last line)")
    log.tell(WINDOW, "req_last", "llm", "server_error", "one answered 500")
    assert caplog.records[-1].message.endswith("(server_error)")


def test_other_models_and_kinds_have_lines_of_their_own(caplog: Any) -> None:
    log = FailureLog(LOG)
    for _ in range(100):
        log.tell(0.0, "req_1", "llm", "server_error", "why")
    log.tell(0.0, "req_2", "llm", "timeout", "why")
    log.tell(0.0, "req_3", "small", "server_error", "why")
    assert [record.args[0] for record in caplog.records[MOST:]] == ["req_2", "req_3"]


def test_what_strangers_say_stays_in_its_line(caplog: Any) -> None:
    FailureLog(LOG).tell(0.0, "req_1", "llm", "server_error", "no\r\n2026 ERROR \x1b[31mall is lost" + "x" * 9000)
    assert caplog.records[0].message.startswith("request req_1 to 'llm': no  2026 ERROR  [31mall is lost")
    assert len(caplog.records[0].message) < 600
