"""IBM's service without IBM: the package's own classes above a stand-in for its HTTP client."""

from __future__ import annotations

import json

from qiskit.primitives import BackendEstimatorV2, BackendSamplerV2
from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService
from qiskit_ibm_runtime.api.exceptions import RequestsApiError
from qiskit_ibm_runtime.json import RuntimeDecoder, RuntimeEncoder


class Client:
    """What the package calls to speak to the server. Jobs run at once, from the JSON that would be sent.

    Attributes:
        calls: (name, arguments) of what was asked, oldest first.
        failure: raised by the next call instead of an answer.
        ending: state that new jobs end in.
    """

    _instance = "crn:stand-in"

    def __init__(self, fake):
        self.fake, self.simulator = fake, AerSimulator.from_backend(fake, method="density_matrix")
        self.calls, self.jobs, self.failure, self.ending = [], {}, None, {"status": "Completed"}

    def _note(self, name, arguments):
        self.calls.append((name, arguments))
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def made(self, name):
        return [arguments for called, arguments in self.calls if called == name]

    def program_run(self, *, program_id, backend_name, params, job_tags, session_id, **rest):
        sent = json.loads(json.dumps(params, cls=RuntimeEncoder), cls=RuntimeDecoder)
        self._note("program_run", {"program": program_id, "sent": sent, "tags": job_tags, "session": session_id})
        kind = BackendSamplerV2 if program_id == "sampler" else BackendEstimatorV2
        primitive = kind(backend=self.simulator, options={"seed_simulator": 1 + len(self.jobs)})
        result = primitive.run([tuple(pub) for pub in sent["pubs"]]).result()
        identifier = f"job-{len(self.jobs)}"
        self.jobs[identifier] = {
            "id": identifier,
            "backend": backend_name,
            "program": {"id": program_id},
            "tags": job_tags,
            "state": dict(self.ending),
            "results": json.dumps(result, cls=RuntimeEncoder),
        }
        return {"id": identifier, "backend": backend_name}

    def job_get(self, job_id, exclude_params=True):
        self._note("job_get", {"job": job_id})
        if job_id not in self.jobs:
            raise RequestsApiError("Job not found", status_code=404)
        return {**self.jobs[job_id], "status": self.jobs[job_id]["state"]["status"]}

    def jobs_get(self, *, limit, job_tags, **rest):
        self._note("jobs_get", {"limit": limit, "tags": job_tags})
        found = [job for job in self.jobs.values() if set(job_tags) <= set(job["tags"])]
        return {"jobs": found[:limit], "count": len(found)}

    def job_results(self, job_id):
        return self.jobs[job_id]["results"]

    def create_session(self, backend, instance, max_time, mode):
        self._note("create_session", {"backend": backend, "mode": mode})
        return {"id": f"session-{len(self.made('create_session'))}"}

    def close_session(self, session_id):
        self._note("close_session", {"session": session_id})

    def cloud_usage(self):
        return {}

    def backend_status(self, name):
        fixed = {"backend_version": "1.0", "operational": True, "pending_jobs": 0, "status_msg": "active"}
        return {"backend_name": name, **fixed}

    def backend_properties(self, name, **rest):
        return self.fake._set_props_dict_from_json() or self.fake._props_dict


class Service(QiskitRuntimeService):
    """The package's service with an account that exists nowhere."""

    def __init__(self, client):
        self.client, self._channel = client, "ibm_quantum_platform"
        self._active_api_client = client
        self._api_clients = {client._instance: client}
        self._backend_instance_groups = []

    def __repr__(self):
        return "<stand-in>"

    def __eq__(self, other):
        return self is other

    __hash__ = object.__hash__

    def _create_backend_obj(self, name, instance=None, **rest):
        if name != self.client.fake.name:
            raise QiskitBackendNotFoundError("No backend matches the criteria.")
        return IBMBackend(self.client.fake.configuration(), self, self.client, instance=self.client._instance)

    def backends(self, name=None, **rest):
        if name not in (None, self.client.fake.name):
            return []
        return [self._create_backend_obj(self.client.fake.name)]
