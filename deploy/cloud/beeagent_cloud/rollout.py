"""`beeagent rollout`: deploy to a canary group, watch its status messages, then deploy to the fleet, or stop.

A successful Greengrass job does not mean that the agent works: it also succeeds with a setting that the agent refuses,
and a nucleus lite does not roll back. So the rollout depends on the status messages of the devices.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from beeagent.errors import BeeagentError, InputError
from beeagent.messages import DeviceHealth, StatusMessage, UnreadableError, device_health
from beeagent.mqtt import MqttOptions, Received, Subscription
from beeagent.output import shown

from beeagent_cloud.aws import AwsError, Service

COMPONENT: Final = "io.beeagent.Agent"

_SUCCEEDED: Final = "SUCCEEDED"
_FAILED: Final = frozenset({"FAILED", "TIMED_OUT", "REJECTED"})
_QUIET_AFTER_S: Final = 150.0  # an agent publishes its status every 30 s
_MAX_STATUS_BYTES: Final = 16_384
_MAX_NAMED: Final = 5  # devices in a message


class RolloutStoppedError(BeeagentError):
    """The rollout was stopped, because devices are not healthy or their status cannot be received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutLimits:
    """When a device is healthy, and when a rollout is stopped.

    Attributes:
        soak_s: seconds for which a device has to be online with the new version.
        grace_s: seconds for which a device may be unhealthy, as during the change of the version.
        timeout_s: seconds for a stage.
        max_failed_percent: percentage of the fleet's watched devices that may fail; no canary may fail.
        poll_s: seconds between two checks.
    """

    soak_s: float = 900.0
    grace_s: float = 300.0
    timeout_s: float = 3600.0
    max_failed_percent: float = 10.0
    poll_s: float = 10.0


@dataclass(slots=True)
class _Device:
    """A device in a stage. Times are those of `time.monotonic`."""

    name: str
    healthy_since: float | None = None
    unhealthy_since: float | None = None
    old_since: float | None = None
    healthy: bool = False
    failure: str = ""

    def update(self, health: DeviceHealth, *, job: str, version: str, now: float, limits: RolloutLimits) -> None:
        """Record the present health, and set `healthy` or `failure` once it is decided."""
        well = health.health == "online"
        updated = job == _SUCCEEDED and health.status.agent == version
        self.healthy_since = (self.healthy_since or now) if well and updated else None
        self.unhealthy_since = None if well else (self.unhealthy_since or now)
        old = job == _SUCCEEDED and not updated
        self.old_since = (self.old_since or now) if old else None
        self.healthy = self.healthy_since is not None and now - self.healthy_since >= limits.soak_s
        if job in _FAILED:
            self.failure = f"its deployment is {job}"
        elif self.unhealthy_since is not None and now - self.unhealthy_since > limits.grace_s:
            self.failure = f"{health.health}: {'; '.join(health.problems)}" if health.problems else health.health
        elif self.old_since is not None and now - self.old_since > limits.grace_s:
            self.failure = f"its deployment succeeded, and it runs version {health.status.agent}"


class StatusWatch:
    """Context manager that receives the status messages of all devices on its own thread."""

    def __init__(self, options: MqttOptions, *, prefix: str) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._newest: dict[str, tuple[DeviceHealth, float]] = {}
        self._connected = False
        self._problem = ""
        self._subscription = Subscription(
            options=options,
            filters=(f"{prefix}/+/status",),
            on_open=self._handle_open,
            on_message=self._handle_message,
            on_lost=self._handle_lost,
        )
        self._thread = threading.Thread(target=self._run, name="status-watch", daemon=True)

    def __enter__(self) -> "StatusWatch":  # noqa: PYI034 - `Self` needs Python 3.11
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._subscription.stop()
        self._thread.join(5.0)

    @property
    def problem(self) -> str:
        """Reason why no statuses are received; empty if they are."""
        with self._lock:
            return "" if self._connected else self._problem or "not yet connected to the broker"

    def health(self, device: str) -> DeviceHealth | None:
        """Return the health of a device; None before its first status."""
        with self._lock:
            health, at = self._newest.get(device, (None, 0.0))
        if health is None:
            return None
        retained = time.monotonic() - at > _QUIET_AFTER_S  # treat an old status like a retained one
        if not retained:
            return health
        return device_health(device, health.status, retained=True, now=datetime.now(timezone.utc))

    def _run(self) -> None:
        try:
            self._subscription.run()
        except InputError as error:
            self._handle_lost(str(error))

    def _handle_open(self) -> None:
        with self._lock:
            self._connected = True

    def _handle_lost(self, reason: str) -> None:
        with self._lock:
            self._connected, self._problem = False, reason

    def _handle_message(self, message: Received) -> None:
        device = message.topic.removeprefix(f"{self._prefix}/").removesuffix("/status")
        try:
            if len(message.payload) > _MAX_STATUS_BYTES:
                return
            status = StatusMessage.decode(message.payload)
        except UnreadableError:
            return  # not from beeagent, or from a newer version: then the device is quiet
        health = device_health(device, status, retained=message.retained, now=datetime.now(timezone.utc))
        with self._lock:
            self._newest[device] = (health, time.monotonic())


class Rollout:
    """Deploys in two stages, and stops if too many devices fail."""

    def __init__(  # noqa: PLR0913 - limits and callbacks
        self,
        *,
        watch: StatusWatch,
        limits: RolloutLimits,
        region: str | None,
        report: Callable[[str], None],
        leaving: threading.Event,
        roll_back: bool = True,
    ) -> None:
        """Prepare the rollout; `run` starts it.

        Args:
            watch: receives the statuses.
            limits: when a device is healthy, and when to stop.
            region: AWS region; None for the region of the AWS configuration.
            report: receives progress messages.
            leaving: set to interrupt the rollout and leave deployments as they are.
            roll_back: whether to repeat the previous deployment of a stopped stage.
        """
        self._watch = watch
        self._limits = limits
        self._report = report
        self._leaving = leaving
        self._roll_back = roll_back
        self._greengrass = Service("greengrassv2", region=region)
        self._iot = Service("iot", region=region)

    def run(self, canary: Mapping[str, Any], fleet: Mapping[str, Any], *, confirm: Callable[[str], bool]) -> None:
        """Deploy to the canaries, and if they stay healthy to the fleet.

        Args:
            canary: request of `create-deployment` for the canary group.
            fleet: request of `create-deployment` for the fleet.
            confirm: asks for confirmation; returns whether the user confirmed.

        Raises:
            RolloutStoppedError: a stage was stopped.
            BeeagentError: a request failed, or the user did not confirm.
        """
        version = _version(canary)
        if _version(fleet) != version:
            raise InputError(
                f"the canaries get version {version} and the fleet {_version(fleet)}: both must have the same version"
            )
        canaries, others = self._things(canary), self._things(fleet)
        self._await_statuses(canaries)
        unhealthy = [name for name in canaries if not self._is_healthy(name)]
        if unhealthy:
            raise RolloutStoppedError(
                f"canaries are not online before the rollout: {_named(unhealthy)}; nothing was deployed: fix them, or "
                "choose others"
            )
        if not confirm(
            f"Deploy version {version} to the canary group ({len(canaries)}), then to the fleet ({len(others)})?"
        ):
            raise BeeagentError("nothing was deployed")
        self._stage("canary", canary, canaries, version=version, max_failed=0)
        watched = [name for name in others if self._is_healthy(name)]
        self._report(f"fleet: {len(watched)} of {len(others)} devices are online and watched")
        allowed = int(len(watched) * self._limits.max_failed_percent / 100)
        self._stage("fleet", fleet, watched, version=version, max_failed=allowed)
        self._report(f"version {version} is deployed")

    def _stage(
        self, stage: str, request: Mapping[str, Any], names: list[str], *, version: str, max_failed: int
    ) -> None:
        previous = self._previous(request["targetArn"])
        created = self._greengrass("create_deployment", **request)
        deployment, job = created["deploymentId"], created.get("iotJobId")
        self._report(f"{stage}: deployment {deployment}")
        devices = [_Device(name) for name in names]
        try:
            problem = self._follow(stage, devices, job=job, version=version, max_failed=max_failed)
        except AwsError as error:
            problem = str(error)
        if not problem:
            return
        if self._leaving.is_set():
            raise BeeagentError(
                f"interrupted: deployment {deployment} continues unwatched; to stop it: "
                f"aws greengrassv2 cancel-deployment --deployment-id {deployment}"
            )
        self._greengrass("cancel_deployment", deploymentId=deployment)
        self._report(f"{stage}: deployment {deployment} is cancelled")
        after = "devices that have it keep it"
        if self._roll_back and previous is not None:
            restored = self._greengrass("create_deployment", **previous)["deploymentId"]
            after = f"deployment {restored} restores the previous one"
        raise RolloutStoppedError(f"{stage} stopped: {problem}; {after}")

    def _follow(self, stage: str, devices: list[_Device], *, job: str | None, version: str, max_failed: int) -> str:
        """Check the devices until all are healthy; return the reason to stop, or an empty string."""
        deadline = time.monotonic() + self._limits.timeout_s
        reported = (-1, -1)
        while True:
            now = time.monotonic()
            jobs = self._jobs(job)
            if not self._watch.problem:
                for device in devices:
                    if not device.failure and (health := self._watch.health(device.name)) is not None:
                        state = jobs.get(device.name, "")
                        device.update(health, job=state, version=version, now=now, limits=self._limits)
            failed = [device for device in devices if device.failure]
            healthy = sum(device.healthy for device in devices)
            if (healthy, len(failed)) != reported:
                reported = healthy, len(failed)
                self._report(f"{stage}: {healthy} of {len(devices)} healthy with {version}, {len(failed)} failed")
            if len(failed) > max_failed:
                return "; ".join(f"{one.name}: {shown(one.failure, most=200)}" for one in failed[:_MAX_NAMED])
            if healthy + len(failed) == len(devices):
                return ""
            if now > deadline:
                rest = [device.name for device in devices if not device.healthy and not device.failure]
                return self._watch.problem or f"not healthy with {version} in time: {_named(rest)}"
            if self._leaving.wait(self._limits.poll_s):
                return "interrupted"

    def _await_statuses(self, names: list[str]) -> None:
        """Wait for the status of each device, because a nucleus lite does not retain statuses."""
        deadline = time.monotonic() + min(self._limits.grace_s, _QUIET_AFTER_S)
        self._report(f"waiting for the statuses of the canary group ({len(names)})")
        while any(self._watch.health(name) is None for name in names) and time.monotonic() < deadline:
            if self._leaving.wait(min(1.0, self._limits.poll_s)):
                raise BeeagentError("interrupted: nothing was deployed")
        if problem := self._watch.problem:
            raise RolloutStoppedError(f"no status can be received: {problem}; nothing was deployed")

    def _is_healthy(self, name: str) -> bool:
        health = self._watch.health(name)
        return health is not None and health.health == "online"

    def _things(self, request: Mapping[str, Any]) -> list[str]:
        target = str(request["targetArn"])
        kind, _, group = target.rpartition(":")[2].partition("/")
        if kind != "thinggroup" or not group:
            raise InputError(f"targetArn {target} is no thing group: a nucleus lite accepts deployments to groups only")
        things = self._iot.pages("list_things_in_thing_group", "things", thingGroupName=group, recursive=True)
        names = sorted(str(name) for name in things)
        if not names:
            raise InputError(f"thing group {group} is empty: add the devices to it")
        return names

    def _previous(self, target: str) -> dict[str, Any] | None:
        """Return the request that repeats the newest deployment of a target."""
        found = self._greengrass("list_deployments", targetArn=target, historyFilter="LATEST_ONLY")["deployments"]
        if not found:
            return None
        previous = self._greengrass("get_deployment", deploymentId=found[0]["deploymentId"])
        members = ("targetArn", "deploymentName", "components", "deploymentPolicies", "iotJobConfiguration")
        return {member: previous[member] for member in members if member in previous}

    def _jobs(self, job: str | None) -> dict[str, str]:
        """Return the state of the deployment on each device."""
        if job is None:
            return {}
        try:
            executions = list(self._iot.pages("list_job_executions_for_job", "executionSummaries", jobId=job))
        except AwsError as error:
            if error.code == "ResourceNotFoundException":  # the job is about to be created
                return {}
            raise
        return {
            str(one["thingArn"]).rpartition("/")[2]: str(one["jobExecutionSummary"]["status"]) for one in executions
        }


def read_deployment(path: Path) -> dict[str, Any]:
    """Return the request of `create-deployment` in a file, as for `--cli-input-json`.

    Raises:
        InputError: the file cannot be read, lacks the component of beeagent, or is a template.
    """
    try:
        request = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as JSON ({error}): it must be the input of create-deployment"
        ) from error
    if not isinstance(request, dict) or "targetArn" not in request:
        raise InputError(f"{path} has no targetArn: it must be the input of create-deployment")
    if ":REGION:" in str(request["targetArn"]):
        raise InputError(f"{path} still has REGION in it: fill in the templates of deploy/greengrass/aws")
    _version(request)
    return request


def _version(request: Mapping[str, Any]) -> str:
    component = request.get("components", {}).get(COMPONENT, {})
    version = component.get("componentVersion")
    if not isinstance(version, str):
        raise InputError(f"the deployment to {request.get('targetArn')} has no componentVersion of {COMPONENT}")
    return version


def _named(names: list[str]) -> str:
    rest = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + rest
