"""Celery: tasks that failed for good become letters, and letters become tasks again.

A failure is captured in the process where the task ran. What that process could not do, because it was killed or found
neither database nor spool, the worker's main process does before it acknowledges the message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import Terminated
from celery import Celery, bootsteps, signals
from celery.app.task import Context
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.imports import symbol_by_name
from celery.utils.serialization import UnpickleableExceptionWrapper
from kombu.exceptions import OperationalError

from ..dlq import DeadLetterQueue
from ..heartbeat import Heartbeats, Limits
from ..letters import DeadLetterError, Letter
from . import carrying, celery_beats
from .beating import Beating

# What a letter keeps of a task beside its arguments: the option to send it with, and what the request calls it.
_OPTIONS = {
    "link": "callbacks",
    "link_error": "errbacks",
    "chain": "chain",
    "chord": "chord",
    "group_id": "group",
    "group_index": "group_index",
    "shadow": "shadow",
    "ignore_result": "ignore_result",
}
_MARK = "_unhush_kept"


def connect(
    app: Celery,
    dlq: DeadLetterQueue,
    *,
    queue: str = "celery",
    tasks: Collection[str] | None = None,
    heartbeats: Heartbeats | None = None,
    limits: Mapping[str, Limits] | None = None,
) -> None:
    """Captures the app's tasks that fail for good in its workers, and has the queue's letters sent to them again.

    Call it where the app is made, for workers and for whoever redrives. `queue` is the letters' queue, `tasks` the names
    of the tasks that are meant; default all. With `heartbeats`, on the queue's database, each run of these tasks beats:
    its kind is the task's name, its job id the task's. `limits` are its deadline and the like, by task name, under `*`
    those of all others. Nothing happens while the flag of each is off.
    """
    captures = _Captures(app, dlq, queue, tasks)
    captures.beats = None if heartbeats is None else Beating(heartbeats, captures.dlq, limits)
    if captures.beats is not None:
        celery_beats.close_in_children(captures.beats)
    signals.task_failure.connect(captures.task_failed, weak=False)
    signals.task_postrun.connect(captures.task_ended, weak=False)
    guard = {"captures": captures, "name": f"unhush-{queue}-{id(captures)}", "__module__": __name__}
    app.steps["consumer"].add(type("Guard", (_Guard,), guard))
    dlq.register(queue, lambda letter: send(app, letter))


class _Captures:
    """Turns the tasks of one app into records of failures."""

    def __init__(self, app: Celery, dlq: DeadLetterQueue, queue: str, tasks: Collection[str] | None) -> None:
        self.app = app
        self.dlq = carrying.blocking(dlq)
        self.queue = queue
        self.tasks = None if tasks is None else frozenset(tasks)
        self.beats: Beating | None = None

    def wants(self, name: str) -> bool:
        """Whether the task is one of those that are meant."""
        return self.tasks is None or name in self.tasks

    def task_failed(self, sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
        """The signal of a task that failed for good; in the main process it may come without a request."""
        request = sender.request
        if sender.app is not self.app or request.id != task_id or _is_kept(exception, request):
            return
        raised = sys.exception()
        error = raised if isinstance(exception, UnpickleableExceptionWrapper) and raised else exception
        self._try(sender.name, request, error, exception)

    def task_ended(self, sender: Any, state: str, retval: Any, **_: Any) -> None:
        """The signal of any end of a task, of which only a rejection for good is a failure."""
        if sender.app is self.app and state == "REJECTED" and isinstance(retval, Reject) and not retval.requeue:
            self._try(sender.name, sender.request, retval, retval)

    def _try(self, name: str, request: Any, error: BaseException, marked: BaseException) -> None:
        """Captures, and marks the exception, which the main process will get; without the mark it tries again."""
        if not self.wants(name):
            return
        try:
            self.keep(name, request, error)
        except Exception as trouble:  # noqa: BLE001 - logged; the main process keeps the message
            carrying.not_kept(self.dlq, self.queue, name, request.id, trouble)
        else:
            _mark(marked, request)

    def keep(self, name: str, request: Any, error: BaseException) -> None:
        """Captures one failed task. Raises DeadLetterError where it is kept nowhere."""
        carrying.keep(self.dlq, error=error, **self.described(name, request))

    def described(self, name: str, request: Any) -> dict[str, Any]:
        """What a letter says of the task, but for the error."""
        payload: dict[str, Any] = {"args": list(request.args or ()), "kwargs": dict(request.kwargs or {})}
        if options := _options_of(request):
            payload["options"] = options
        return {
            "queue": self.queue,
            "job_name": name,
            "job_id": request.id,
            "attempts": (request.retries or 0) + 1,
            "payload": payload,
            "headers": _headers_of(request),
        }

    def keep_message(self, message: Any, error: BaseException | None) -> None:
        """Captures a message that is no task of this worker: an unknown name, or what can't be read."""
        headers = dict(message.headers or {})
        name = str(headers.get("task") or "unknown")
        if not self.wants(name):
            return
        error = error or ValueError("a message of an unknown format")
        request = _request_in(message)
        if request is not None:
            self.keep(name, request, error)
            return
        carrying.keep(
            self.dlq,
            queue=self.queue,
            job_name=name,
            job_id=headers.get("id") or message.properties.get("correlation_id"),
            error=error,
            attempts=1,
            payload=_raw(message),
            headers=_route(message.delivery_info) | {k: v for k, v in headers.items() if k in carrying.CARRIED},
        )


def _options_of(request: Any) -> dict[str, Any]:
    options = {name: getattr(request, attribute, None) for name, attribute in _OPTIONS.items()}
    hard, soft = request.timelimit or (None, None)
    custom = {name: value for name, value in (request.headers or {}).items() if _is_senders(name)}
    options |= {"time_limit": hard, "soft_time_limit": soft, "headers": custom or None}
    options["priority"] = (request.delivery_info or {}).get("priority") or None
    return {name: value for name, value in options.items() if value is not None and value is not False and value != []}


def _is_senders(header: str) -> bool:
    """Whether it is a header of the task's sender. By RabbitMQ's own it would take a redrive for a loop."""
    return header not in carrying.CARRIED and not header.startswith(("x-death", "x-first-death", "x-last-death"))


def _headers_of(request: Any) -> dict[str, Any]:
    lineage = {name: getattr(request, name, None) for name in ("root_id", "parent_id", "correlation_id")}
    return _route(request.delivery_info) | {k: v for k, v in lineage.items() if v} | (request.headers or {})


def _route(delivery_info: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: (delivery_info or {}).get(name) or "" for name in ("exchange", "routing_key")}


def _request_in(message: Any) -> Context | None:
    """The request of a task in the message, as its worker would have it; None where it can't be read."""
    try:
        args, kwargs, embed = message.payload
        told = dict(message.headers) | embed | {"args": args, "kwargs": kwargs}
        request = Context(told, delivery_info=message.delivery_info)
    except Exception:  # noqa: BLE001 - whatever a decoder raises; the caller keeps the message as it is
        return None
    return request if told.get("task") and told.get("id") else None


def _raw(message: Any) -> dict[str, Any]:
    """The message as it came, to be sent again like that."""
    return {
        "body": _as_text(message.body),
        "headers": dict(message.headers or {}),
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
    }


def _as_text(body: Any) -> str | bytes:
    """The body as text, in which redaction finds secrets, where it is that."""
    if isinstance(body, str):
        return body
    try:
        return bytes(body).decode()
    except UnicodeDecodeError:
        return bytes(body)


def _key(request: Any) -> list[Any]:
    return [request.id, request.retries or 0]


def _mark(error: BaseException, request: Any) -> None:
    """Says on the exception itself, which goes to the main process, that this failure is kept."""
    error.__dict__[_MARK] = _key(request)


def _is_kept(error: BaseException, request: Any) -> bool:
    return error.__dict__.get(_MARK) == _key(request)


class _Guard(bootsteps.StartStopStep):  # type: ignore[misc]
    """Goes before what a worker's main process does with failed tasks and with messages that are no tasks."""

    captures: _Captures

    def __init__(self, parent: Any, **_: Any) -> None:
        captures = self.captures
        for name, task in captures.app.tasks.items():
            if captures.wants(name):
                task.Request = _guarded(symbol_by_name(task.Request), captures)
                if captures.beats is not None and not name.startswith("celery."):
                    celery_beats.wrap(task, captures.beats, captures.described)
        parent.on_unknown_message = self._before(parent.on_unknown_message, lambda _body, message: (message, None))
        parent.on_unknown_task = self._before(parent.on_unknown_task, lambda _body, message, error: (message, error))
        parent.on_invalid_task = self._before(parent.on_invalid_task, lambda _body, message, error: (message, error))
        parent.on_decode_error = self._before(parent.on_decode_error, lambda message, error: (message, error))

    def _before(self, act: Callable[..., Any], told: Callable[..., tuple[Any, Any]]) -> Callable[..., Any]:
        """Does what Celery does, which ends with the message gone, once the message is captured."""

        def guarded(*args: Any) -> Any:
            message, error = told(*args)
            try:
                self.captures.keep_message(message, error)
            except Exception as trouble:  # noqa: BLE001 - logged; the broker keeps the message
                name = str((message.headers or {}).get("task"))
                carrying.not_kept(self.captures.dlq, self.captures.queue, name, str(message.delivery_tag), trouble)
                return None
            return act(*args)

        return guarded


@cache
def _guarded(base: type, captures: _Captures) -> type:
    """A request that lets go of its message only when the failure is captured."""

    class Guarded(base):  # type: ignore[misc]
        _unhush_failure: BaseException | None = None
        _unhush_tried = False

        def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
            self._unhush_failure = _failure_in(exc_info, self._context)
            self._unhush_tried = False
            try:
                return super().on_failure(exc_info, *args, **kwargs)
            finally:
                ended_on_purpose = self._already_revoked or self._already_cancelled
                if not (self.task.acks_late or ended_on_purpose):
                    self._unhush_safe()  # the message was acknowledged before the task ran
                self._unhush_failure = None

        def acknowledge(self) -> None:
            if self._unhush_safe():
                super().acknowledge()

        def reject(self, requeue: bool = False) -> None:
            if requeue:
                self._unhush_failure = None  # it will run again
            if self._unhush_safe():
                super().reject(requeue=requeue)

        def _success_was_stored(self) -> Any:
            stored = super()._success_was_stored()
            if stored:
                self._unhush_failure = None
            return stored

        def _retry_worker_lost(self, exc: Any, exc_info: Any) -> Any:
            failure, self._unhush_failure = self._unhush_failure, None
            retried = super()._retry_worker_lost(exc, exc_info)
            if not retried:
                self._unhush_failure = failure
            return retried

        def _unhush_safe(self) -> bool:
            failure = self._unhush_failure
            if failure is None or _is_kept(failure, self._context):
                return True
            if not self._unhush_tried:
                self._unhush_tried = True
                captures._try(self.task.name, self._context, failure, failure)
            return _is_kept(failure, self._context)

    return Guarded


def _failure_in(exc_info: Any, request: Any) -> BaseException | None:
    """What the task failed of, where that is a failure that nobody captured yet."""
    error = exc_info.exception
    if isinstance(error, ExceptionWithTraceback):
        error = error.exc
    final_rejection = isinstance(error, Reject) and not error.requeue
    if isinstance(error, Ignore | Retry | Reject | Terminated) and not final_rejection:
        return None
    return None if _is_kept(error, request) else error


def send(app: Celery, letter: Letter) -> None:
    """Sends the letter's task to the queue that it came from; the broker confirms that it has it.

    Raises InDoubt where the connection ends meanwhile, DeadLetterError for what can't be sent as it was.
    """
    with app.connection_for_write() as connection:
        confirms = connection.transport.driver_type == "amqp"
        if confirms:
            connection.transport_options["confirm_publish"] = True
        connection.connect()
        channel = connection.channel()  # what fails until here has sent nothing
        route = {"mandatory": confirms, **_route(letter.headers)}  # what reaches no queue is an error, too
        doubtful = tuple(kind for kind in connection.connection_errors if kind not in connection.channel_errors)
        with carrying.sending(letter, doubtful):
            try:
                _publish(app, app.amqp.Producer(channel), letter, route)
            except OperationalError as error:
                raise (error.__cause__ or error) from None  # Celery's name for errors of both kinds


def _publish(app: Celery, producer: Any, letter: Letter, route: dict[str, Any]) -> None:
    payload = letter.payload
    if "body" in payload:
        headers = payload["headers"] | carrying.carried(letter)
        raw = {name: payload[name] for name in ("content_type", "content_encoding")}
        producer.publish(payload["body"], headers=headers, retry=False, delivery_mode=2, **raw, **route)
        return
    options = dict(payload.get("options") or {})
    if options.get("chord"):
        raise DeadLetterError(
            "the task belongs to a chord, whose body does not wait for it any more: edit the letter and take"
            " options.chord out to send the task alone"
        )
    app.send_task(
        letter.job_name,
        payload["args"],
        payload["kwargs"],
        task_id=carrying.redriven_id(letter),
        parent_id=letter.job_id,
        root_id=letter.headers.get("root_id"),
        headers=options.pop("headers", {}) | carrying.carried(letter),
        producer=producer,
        retry=False,
        add_to_parent=False,
        **_destination(route),
        **options,
    )


def _destination(route: dict[str, Any]) -> dict[str, Any]:
    """Where to send a task, as Celery wants to be told: the nameless exchange leads to the queue of that name."""
    if route["exchange"]:
        return route | {"exchange_type": "topic"}  # any but `direct`, for which Celery takes its own default queue
    return {"mandatory": route["mandatory"]} | ({"queue": route["routing_key"]} if route["routing_key"] else {})
