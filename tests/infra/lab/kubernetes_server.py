"""An API server that is a dictionary, and what tests apply to it."""

import json
import threading

import httpx

from tests.lab.providers.contract import Ask

KINDS = {
    "/api/v1": {"ConfigMap": "configmaps", "Pod": "pods", "Event": "events", "Secret": "secrets"},
    "/apis/apps/v1": {"Deployment": "deployments"},
    "/apis/batch/v1": {"Job": "jobs"},
}


class FakeServer:
    """Stores what is applied, whole; refuses what a test says; deletes at the second look."""

    def __init__(self):
        self.objects, self.asked, self.conflicts, self.refusals, self.drawn = {}, [], {}, [], 0
        self.deleting = set()
        self.lock = threading.Lock()

    def __call__(self, request):
        with self.lock:
            return self.answer(request)

    def answer(self, request):
        path, query = request.url.path, dict(request.url.params)
        self.asked.append((request.method, path, query))
        if path in KINDS:
            found = [{"kind": kind, "name": plural, "namespaced": True} for kind, plural in KINDS[path].items()]
            return httpx.Response(200, json={"resources": found})
        if path.endswith(("/pods", "/events")):
            return httpx.Response(200, json={"items": [o for at, o in self.objects.items() if at.startswith(path)]})
        if request.method == "PATCH":
            return self.patch(path, query, json.loads(request.content))
        if path not in self.objects:
            return refusal(404, "not found")
        found = self.objects[path]
        if request.method == "DELETE":
            self.deleting.add(path)
        elif path in self.deleting:
            del self.objects[path]
        return httpx.Response(200, json=found)

    def patch(self, path, query, body):
        if self.refusals:
            return self.refusals.pop()
        if self.conflicts and query["force"] == "false":
            causes = [
                {"reason": "FieldManagerConflict", "field": field, "message": f'conflict with "{who}" using v1'}
                for field, who in self.conflicts.items()
            ]
            return refusal(409, "conflict", causes=causes)
        self.drawn += 1
        before = self.objects.get(path, {"metadata": {"uid": str(self.drawn)}})
        metadata = {**body["metadata"], "uid": before["metadata"].get("uid", "0"), "namespace": "team", "generation": 1}
        made = {**body, "metadata": metadata, "status": before.get("status", {})}
        if "dryRun" not in query:
            self.objects[path] = made
        return httpx.Response(200, json=made)


def refusal(status, message, **details):
    return httpx.Response(status, json={"kind": "Status", "message": message, "details": details})


CREATED = "urn:pulumi:lab::isthmus::kubernetes:{}::thing"


def specs(data="a", **metadata):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "specs", "namespace": "team", **metadata},
        "data": {"k": data},
    }


def workload(**marks):
    metadata = {"name": "web", "namespace": "team", "annotations": marks}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


SPECS_AT = "/api/v1/namespaces/team/configmaps/specs"
WEB_AT = "/apis/apps/v1/namespaces/team/deployments/web"
ASK = Ask(CREATED.format("core/v1:ConfigMap"), "team/specs")
WEB = Ask(CREATED.format("apps/v1:Deployment"), "team/web")
