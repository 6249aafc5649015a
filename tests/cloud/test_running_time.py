"""The time for which the cloud model was seen to run is never more than it ran."""

from beeagent.cloud.running_time import RunningTime


def test_only_the_time_between_answers_counts() -> None:
    now = 0.0
    time = RunningTime(lambda: now)
    seen = []
    for moment, answered in [(10, True), (70, True), (80, False), (90, True), (100, True), (4000, True), (4001, True)]:
        now = moment
        if answered:
            time.answered()
        else:
            time.not_running()
        seen.append(time.seconds)
    assert seen == [0, 60, 60, 60, 70, 70, 71]  # and not the time up to 80, nor that of more than an hour
