from headrace.demo.answering import Answering
from headrace.pipeline.answer import Asked


def test_it_is_noted_what_was_corrected_flagged_and_answered_without_a_model():
    noted = Answering()
    noted.note(Asked(1, "a", "1", stale="unchanged", stages={"context": 0.001, "model": 0.5}), 0.6)
    noted.note(Asked(1, "a", "2", stale="unchanged", retries=2, stages={"model": 1.5}), 1.6)
    noted.note(Asked(1, "a", "3", stale="changed", retries=2, stages={"model": 2.5}), 2.6)
    noted.note(Asked(1, "a", "4", fallback="as_booked"), 0.1)
    assert noted.to_dict() == {
        "answer_ms": {"p50": 600.0, "p99": 2600.0, "count": 4},
        "model_ms": {"p50": 500.0, "p99": 2500.0, "count": 4},
        "corrected": 2,
        "flagged": 1,
        "without_model": 1,
    }
