"""A local mock of the four SageMaker calls of the clean-up, checked against botocore's service model."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.validate import ParamValidator
from typing_extensions import Self

from support.botocore_models import service_model


class SageMakerJobs:
    """Two running jobs, one of beeagent's and one of somebody else's, and one that has ended.

    Attributes:
        stopped: names of those that were stopped.
    """

    def __init__(self) -> None:
        self.stopped: list[str] = []
        self.mistakes: list[str] = []
        self._jobs = {"bees-1": "InProgress", "theirs-1": "InProgress", "bees-0": "Completed"}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        assert not self.mistakes, self.mistakes

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        operation = handler.headers["X-Amz-Target"].rpartition(".")[2]
        members = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        model = service_model("sagemaker").operation_model(operation)
        answer = self._answer(operation, members)
        for said, shape in ((members, model.input_shape), (answer, model.output_shape)):
            if shape is not None and (report := ParamValidator().validate(said, shape)).has_errors():
                self.mistakes.append(f"{operation}: {report.generate_report()}")
        body = json.dumps(answer).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _answer(self, operation: str, members: dict[str, Any]) -> dict[str, Any]:
        if operation == "ListTrainingJobs":
            return {"TrainingJobSummaries": [self._summary(name) for name in self._jobs]}
        if operation == "ListTags":
            ours = members["ResourceArn"].rpartition("/")[2].startswith("bees")
            return {"Tags": [{"Key": "beeagent:project" if ours else "project", "Value": "bees"}]}
        name = members["TrainingJobName"]
        if operation == "StopTrainingJob":
            self.stopped.append(name)
            self._jobs[name] = "Stopping"
            return {}
        assert operation == "DescribeTrainingJob"
        status = self._jobs[name]
        if status == "Stopping":
            self._jobs[name] = "Stopped"
        return {**self._summary(name), "TrainingJobStatus": status, **_REST}

    def _summary(self, name: str) -> dict[str, Any]:
        return {
            "TrainingJobName": name,
            "TrainingJobArn": f"arn:aws:sagemaker:eu-west-1:123456789012:training-job/{name}",
            "CreationTime": 1_700_000_000,
            "TrainingJobStatus": self._jobs[name],
        }


_REST: dict[str, Any] = {
    "ModelArtifacts": {"S3ModelArtifacts": "s3://bees/model.tar.gz"},
    "SecondaryStatus": "Training",
    "AlgorithmSpecification": {"TrainingInputMode": "File"},
    "ResourceConfig": {"VolumeSizeInGB": 1},
    "StoppingCondition": {},
}
