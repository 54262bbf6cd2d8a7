"""A stand-in for the Hugging Face Hub: the part of its HTTP interface that huggingface_hub's own client needs to
make a repository, commit to it and download from it. Small files go into the commit, others by Git LFS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_of_the_tests"


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: dict[str, dict[str, bytes]] = {}  # by repository and name
        self.objects: dict[str, bytes] = {}  # Git LFS, by sha256
        self.by_lfs: set[str] = set()  # names of files that came that way
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, content: object = None, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.answer(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message})

    def do_POST(self) -> None:
        body, path = self.body(), self.path.split("?")[0].strip("/")
        self.server.asked.append(f"POST {path}")
        if path == "api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "", "Invalid username or password.")
        if path == "api/repos/create":
            asked = json.loads(body)
            repository = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] != "me":
                return self.refuse(403, "", f"You don't have the rights to create a model under {repository}")
            known = repository in self.server.files
            self.server.files.setdefault(repository, {})
            return self.answer(409 if known else 200, {"url": f"{self.server.url}/{repository}"})
        if path.endswith("/objects/batch"):
            return self.answer(
                200, {"transfer": "basic", "objects": list(map(self.lfs, json.loads(body)["objects"]))}
            )
        _, _, owner, name, what, *_ = path.split("/")
        files = self.server.files[f"{owner}/{name}"]
        if what == "preupload":
            asked = [(file["path"], file["size"]) for file in json.loads(body)["files"]]
            modes = [
                {"path": path, "uploadMode": "lfs" if size > 10_000 else "regular", "shouldIgnore": False}
                for path, size in asked
            ]
            return self.answer(200, {"files": modes})
        for line in body.splitlines():
            kind, value = (entry := json.loads(line))["key"], entry["value"]
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
                self.server.by_lfs.add(value["path"])
        oid = commit_of(files)
        self.answer(200, {"commitUrl": f"{self.server.url}/{owner}/{name}/commit/{oid}", "commitOid": oid})

    def lfs(self, asked: dict[str, object]) -> dict[str, object]:
        href = f"{self.server.url}/lfs/{asked['oid']}"
        return asked | {"actions": {"upload": {"href": href, "header": {}}}}

    def do_PUT(self) -> None:
        data = self.body()
        self.server.objects[hashlib.sha256(data).hexdigest()] = data
        self.answer(200)

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        owner, name, _, _, *file = self.path.strip("/").split("/")
        files = self.server.files.get(f"{owner}/{name}")
        if files is None:
            return self.refuse(401, "RepoNotFound", "Invalid username or password.")
        if "/".join(file) not in files:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        data = files["/".join(file)]
        etag = hashlib.sha256(data).hexdigest()
        self.answer(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": commit_of(files)})

    do_HEAD = do_GET


def commit_of(files: dict[str, bytes]) -> str:
    return hashlib.sha1(b"".join(name.encode() + data for name, data in sorted(files.items()))).hexdigest()
