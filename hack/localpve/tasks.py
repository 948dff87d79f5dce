"""Tasks as pve-manager's API2/Tasks.pm tells of them: listed from the archive unless asked for those that run."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from fakepve.model import Model, PveError
from fakepve.server import USER, ok, params

Values = dict[str, Any]


class Tasks(Model):
    """A mixin of the stand-in."""

    workers: dict[str, asyncio.Task[Any] | None]
    """What is at work for each task that runs, by UPID."""

    async def _task_list(self, request: web.Request) -> web.Response:
        v = self._verify(request, await params(request))
        node, user, source = request.match_info["node"], request[USER], v.get("source", "archive")
        audit = self.allowed(user, f"/nodes/{node}", "Sys.Audit")
        found = [
            task
            for task in reversed(self.tasklog)
            if task["node"] == node
            and source in ("all", "active" if task["status"] == "running" else "archive")
            and (audit or self._task_owner(user, task))
            and _passes(task, v)
        ]
        start = v.get("start", 0)
        listed: web.Response = ok([self._listed(task) for task in found[start : start + v.get("limit", 50)]])
        return listed

    def _routes_tasks(self) -> list[tuple[str, str, Any]]:
        return [("DELETE", "/nodes/{node}/tasks/{upid}", self._stop_task)]

    async def _stop_task(self, v: Values, user: str) -> None:
        """A worker gets a signal; the task ends a moment later. One that has ended stays as it is."""
        task = self.tasks.get(v["upid"])
        if task is None:
            raise PveError(400, "Parameter verification failed.", {"upid": "no such task"})
        if not self._task_owner(user, task):
            self.require(user, f"/nodes/{v['node']}", "Sys.Modify")
        worker = self.workers.get(v["upid"])
        if worker is not None:
            worker.cancel()

    def _listed(self, task: Values) -> Values:
        out: Values = self._task_view(task, True)
        return {**out, "status": "RUNNING"} if task["status"] == "running" else out

    def _get_task(self, request: web.Request) -> Values:
        task: Values | None = self.tasks.get(request.match_info["upid"])
        if task is None or task["node"] != request.match_info["node"]:
            text = "no such task" if request.match_info["upid"].startswith("UPID:") else "unable to parse worker upid"
            raise PveError(400, "Parameter verification failed.", {"upid": text})
        if not self._task_owner(request[USER], task):
            self.require(request[USER], f"/nodes/{task['node']}", "Sys.Audit")
        ended = str(task.get("exitstatus") or "")
        if ended.startswith("WARNINGS"):  # fakepve knows of success and failure only
            task["log"] = [f"TASK {ended}" if line == f"TASK ERROR: {ended}" else line for line in task["log"]
                           if line != ended]  # fmt: skip
        return task


def _passes(task: Values, v: Values) -> bool:
    """Whether a task is what was asked for."""
    ended = str(task.get("exitstatus") or "")
    kind = "ok" if ended == "OK" else "warning" if ended.startswith("WARNINGS") else "error" if ended else "unknown"
    wanted = str(v["statusfilter"]).split(",") if v.get("statusfilter") else ["ok", "warning", "error", "unknown"]
    return (
        (v.get("vmid") is None or task["id"] == str(v["vmid"]))
        and v.get("typefilter") in (None, task["type"])
        and str(v.get("userfilter") or "").lower() in task["user"].lower()
        and task["starttime"] >= v.get("since", 0)
        and task["starttime"] <= v.get("until", task["starttime"])
        and kind in wanted
        and not (v.get("errors") and kind == "ok")
    )
