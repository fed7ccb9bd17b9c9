"""IBM's primitives: on simulated devices, and through the package's service above a stand-in for its connection."""

import inspect
import json
import sys

import numpy as np
import pytest
import torch
from ibm_connection import Client, Service

import qkan
from qkan.circuits import Circuit, PauliSum, X, Z, backends, deploy, devices, parameter, statevector
from qkan.circuits.backends import Task, _ibm_service
from qkan.circuits.backends.aer import AerBackend
from qkan.circuits.backends.ibm import IBMBackend, IBMJob
from qkan.circuits.ledger import Ledger
from qkan.circuits.rows import by_angle, rows_of
from qkan.errors import BackendUnavailable, JobError, OptionError, TransientError
from qkan.testing import BackendContract
from qkan.testing.backend_contract import CIRCUIT


class TestIBM(BackendContract):
    kind = IBMBackend.capabilities
    seeds = range(3)

    def make(self, shots=None, **options):
        return backends.get("ibm", backend="aer", shots=shots, **options)


@pytest.fixture(scope="module")
def manila():
    return devices.fake("FakeManilaV2")


@pytest.fixture(scope="module")
def connection(manila):
    return Client(manila)


@pytest.fixture
def client(connection):
    connection.calls.clear()
    connection.jobs.clear()
    connection.failure, connection.ending = None, {"status": "Completed"}
    return connection


@pytest.fixture
def service(client):
    return Service(client)


X_ROWS, THETA = torch.tensor([[0.4, -1.1], [2.0, 0.3]], dtype=torch.float64), torch.tensor([0.3, 1.0])


def task(circuit=CIRCUIT, x=X_ROWS, theta=THETA, shots=1000, **options):
    return Task(by_angle(circuit), rows_of(circuit, x, theta.double()).numpy(), shots, **options)


def within(found, expected, sigmas=5):
    return (np.abs(found.values - expected) <= sigmas * np.sqrt(found.variances)).all()


# -- simulated devices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("primitive", ["sampler", "estimator"])
def test_simulated_devices(manila, primitive):
    """The device's noise, misread bits included, is that which Aer's exact values have."""
    exact = AerBackend(noise=manila, layout=[1, 2]).expectations(CIRCUIT, X_ROWS, THETA).values
    backend = IBMBackend(manila, shots=4000, seed=1, primitive=primitive, layout=[1, 2])
    found = backend.expectations(CIRCUIT, X_ROWS, THETA)
    assert within(found, exact)
    assert (np.abs(exact - statevector.expectations(CIRCUIT, X_ROWS, THETA.double()).numpy()) > 0.02).any()
    assert (found.variances < 4.5**2 / 4000).all()
    assert json.loads(json.dumps(found.metadata))["layout"] == [1, 2]
    again = IBMBackend(manila, shots=4000, seed=1, primitive=primitive, layout=[1, 2])
    np.testing.assert_array_equal(found.values, again.expectations(CIRCUIT, X_ROWS, THETA).values)


def test_estimator_without_noise():
    backend = IBMBackend("aer", shots=2000, seed=3, primitive="estimator")
    circuit = CIRCUIT.measure(*CIRCUIT.observables, PauliSum.from_strings({"II": 0.5, "ZZ": 1.0}))
    found = backend.expectations(circuit, X_ROWS, THETA)
    assert within(found, statevector.expectations(circuit, X_ROWS, THETA.double()).numpy())
    amplitudes = Circuit(2).amplitude_embedding(columns=3).ry(parameter("a"), 0).measure(X(0), Z(1))
    x, theta = torch.tensor([[0.3, -1.0, 0.4], [2.0, 0.1, 0.0]]), torch.tensor([0.7])
    found = backend.expectations(amplitudes, x, theta)
    expected = statevector.expectations(amplitudes, x.double(), theta.double()).numpy()
    assert (np.abs(found.values - expected) <= 5 * np.sqrt(found.variances) + 0.01).all()  # an outcome may be certain


@pytest.mark.parametrize("primitive", ["sampler", "estimator"])
def test_rows_alike_are_measured_apart(primitive):
    found = IBMBackend("aer", shots=100, seed=1, primitive=primitive).run(Circuit(1).ry(1.2, 0), np.zeros((60, 0)))
    assert 0.6 < found.values.var(ddof=1) / found.variances.mean() < 1.6


def test_numbers_are_not_measured():
    one = PauliSum.from_strings({"I": 0.7})
    found = IBMBackend("aer", seed=1).expectations(Circuit(1).ry(0.2, 0).measure(one))
    assert found.values.tolist() == [[0.7]]
    assert not found.variances.any()
    found = IBMBackend("aer", seed=1).expectations(Circuit(1).x(0).measure(one, Z(0) + one))
    np.testing.assert_allclose(found.values, [[0.7, -0.3]], atol=1e-12)


def test_wide_circuits_on_a_simulated_device():
    """More wires than a density matrix holds, which Qiskit's own local mode cannot simulate."""
    wires = 24
    packed = Circuit(wires).angle_embedding(rotation="Y").measure()
    x = torch.linspace(-2, 2, wires, dtype=torch.float64)[None]
    exact = AerBackend(noise="FakeSherbrooke").expectations(packed, x)
    found = IBMBackend("FakeSherbrooke", shots=100, seed=1).expectations(packed, x)
    assert found.metadata["layout"] == exact.metadata["layout"]
    assert within(found, exact.values)


def test_local_jobs_stay_local(manila):
    backend = IBMBackend(manila, seed=1)
    assert backend.find(task()) is None
    with pytest.raises(JobError, match="job abc ended with its process"):
        backend.attach("abc", task())
    assert not backend.capabilities.network
    assert backend.capabilities.noise
    assert not IBMBackend("aer").capabilities.noise
    assert backend.capabilities.wires == 5
    backend.close()


# -- the service -----------------------------------------------------------------------------------------------------


def test_a_job_carries_tag_circuits_and_shots(client, service, manila):
    backend = IBMBackend("fake_manila", service=service, layout=[1, 2])
    assert backend.capabilities.network
    submitted = task(shots=2000)
    job = backend.submit(submitted)
    (sent,) = client.made("program_run")
    assert isinstance(job, IBMJob)
    assert (sent["program"], sent["tags"], job.id) == ("sampler", [submitted.tag], "job-0")
    assert len(sent["sent"]["pubs"]) == 3  # settings, all rows in each
    for circuit, values, shots in sent["sent"]["pubs"]:
        assert circuit.num_qubits == 5
        assert np.shape(values) == (2, len(circuit.parameters))
        assert shots == 2000
    found = job.result()
    assert within(found, AerBackend(noise=manila, layout=[1, 2]).expectations(CIRCUIT, X_ROWS, THETA).values)
    assert found.metadata["job"] == "job-0"


def test_the_estimator_carries_observables_and_mitigation(client, service, manila):
    backend = IBMBackend("fake_manila", 2500, service=service, primitive="estimator", resilience_level=1, layout=[3, 2])
    found = backend.expectations(CIRCUIT, X_ROWS, THETA)
    (sent,) = client.made("program_run")
    assert sent["program"] == "estimator"
    assert sent["sent"]["resilience_level"] == 1
    ((_, observables, values, precision),) = sent["sent"]["pubs"]
    assert np.shape(observables) == (3, 1)
    assert np.shape(values)[0] == 2
    assert precision == pytest.approx(0.02)
    # Wire 0 went to qubit 3, wire 1 to qubit 2; the last letter is that of qubit 0.
    assert {word for one in np.ravel(observables) for word in one} == {"IZZII", "IXIII", "IIYII", "IZIII", "IIXII"}
    assert within(found, AerBackend(noise=manila, layout=[3, 2]).expectations(CIRCUIT, X_ROWS, THETA).values)


def test_amplitudes_travel_as_one_circuit_per_row(client, service):
    circuit = Circuit(2).amplitude_embedding(columns=3).ry(parameter("a"), 0).measure(X(0), Z(1))
    x = torch.tensor([[0.3, -1.0, 0.4], [2.0, 0.1, 0.0]], dtype=torch.float64)
    backend = IBMBackend("fake_manila", service=service)
    found = backend.submit(task(circuit, x, torch.tensor([0.7]))).result()
    (sent,) = client.made("program_run")
    assert len(sent["sent"]["pubs"]) == 2
    expected = statevector.expectations(circuit, x, torch.tensor([0.7], dtype=torch.float64)).numpy()
    assert (np.abs(found.values - expected) < 0.3).all()


def test_another_process_finds_and_attaches(client, service):
    submitted = task(tag="qkan-test")
    first = IBMBackend("fake_manila", service=service).submit(submitted)
    values = first.result().values
    other = IBMBackend("fake_manila", service=Service(client))
    found = other.find(submitted)
    assert found is not None
    assert found.id == first.id
    assert client.made("jobs_get") == [{"limit": 1, "tags": ["qkan-test"]}]
    np.testing.assert_array_equal(found.result().values, values)
    attached = other.attach(first.id, submitted).result()
    np.testing.assert_array_equal(attached.values, values)
    assert attached.metadata["layout"] is None  # the calibration may be another one by now
    assert len(first.result().metadata["layout"]) == 2
    assert other.find(task(tag="qkan-other")) is None
    assert len(client.made("program_run")) == 1


@pytest.mark.parametrize(("mode", "kind"), [("batch", "batch"), ("session", "dedicated")])
def test_one_batch_or_session_for_all_jobs(client, service, mode, kind):
    backend = IBMBackend("fake_manila", service=service, mode=mode)
    assert not client.made("create_session")
    for one in (backend, backend.with_shots(50)):
        one.submit(task())
    assert [call["mode"] for call in client.made("create_session")] == [kind]
    assert [call["session"] for call in client.made("program_run")] == ["session-1", "session-1"]
    backend.close()
    backend.close()
    assert client.made("close_session") == [{"session": "session-1"}]
    backend.submit(task())
    assert client.made("program_run")[-1]["session"] == "session-2"


@pytest.mark.parametrize("mode", ["batch", "session"])
def test_a_session_that_reached_its_longest_time(client, service, mode):
    from qiskit_ibm_runtime.api.exceptions import RequestsApiError

    backend = IBMBackend("fake_manila", service=service, mode=mode)
    backend.submit(task())
    client.failure = RequestsApiError("Session has been closed", 400)
    backend.submit(task())
    assert [call["session"] for call in client.made("program_run")] == ["session-1", "session-1", "session-2"]
    assert len(client.jobs) == 2
    client.failure = RequestsApiError("bad circuit", 400)
    with pytest.raises(JobError, match="bad circuit"):
        backend.submit(task())
    assert len(client.made("create_session")) == 2


def test_single_jobs(client, service):
    IBMBackend("fake_manila", service=service, mode="job").submit(task())
    assert not client.made("create_session")
    assert client.made("program_run")[0]["session"] is None


def test_failures_of_the_connection_may_pass(client, service):
    from qiskit_ibm_runtime.api.exceptions import RequestsApiError
    from requests.exceptions import ConnectionError as NoConnection

    backend = IBMBackend("fake_manila", service=service, mode="job")
    submitted = task(tag="qkan-test")
    for failure in (RequestsApiError("busy", 503), RequestsApiError("slow down", 429), RequestsApiError("no answer")):
        client.failure = failure
        with pytest.raises(TransientError, match=r"^the job with tag qkan-test cannot be reached now: .*[^.]\.$"):
            backend.submit(submitted)
    client.failure = RequestsApiError("bad circuit", 400)
    with pytest.raises(JobError, match=r"^the job with tag qkan-test failed: .*bad circuit"):
        backend.submit(submitted)
    client.failure = NoConnection("no route")
    with pytest.raises(TransientError, match="the search for tag qkan-test cannot be reached now: no route"):
        backend.find(submitted)
    job = backend.submit(submitted)
    client.failure = TimeoutError("waited")
    with pytest.raises(TransientError, match="job job-0 cannot be reached now: waited"):
        job.result()
    assert job.result().values.shape == (2, 3)
    with pytest.raises(JobError, match="job job-9 failed: Job not found: job-9"):
        backend.attach("job-9", submitted)


def test_only_its_own_end_is_final_for_a_job_that_was_accepted(client, service, monkeypatch):
    """Results that this account, or this release of the package, cannot read are still there."""
    from qiskit_ibm_runtime import RuntimeJobV2
    from qiskit_ibm_runtime.api.exceptions import RequestsApiError

    backend, submitted = IBMBackend("fake_manila", service=service, mode="job"), task()
    job = backend.submit(submitted)
    for failure in (RequestsApiError("unauthorized", 401), ValueError("unknown encoding")):
        client.failure = failure
        with pytest.raises(TransientError, match=r"^job job-0 cannot be reached now: "):
            backend.attach("job-0", submitted)
        with monkeypatch.context() as patch:
            patch.setattr(RuntimeJobV2, "result", lambda self, failure=failure: (_ for _ in ()).throw(failure))
            with pytest.raises(TransientError, match=r"^job job-0 cannot be reached now: "):
                job.result()
    with monkeypatch.context() as patch:
        patch.setattr(RuntimeJobV2, "result", lambda self: None)
        with pytest.raises(TransientError, match="job job-0 has ended, but its results are not there yet"):
            job.result()
    client.failure = None
    assert job.result().values.shape == (2, 3)


def test_numbers_are_no_jobs(client, service):
    numbers = task(CIRCUIT.measure(PauliSum.from_strings({"I": 2.0})))
    backend = IBMBackend("fake_manila", service=service)
    job = backend.submit(numbers)
    assert backend.attach(job.id, numbers).result().values.tolist() == [[2.0], [2.0]]
    assert not client.made("program_run")


@pytest.mark.parametrize(
    ("ending", "words"),
    [({"status": "Failed", "reason": "qubits on fire"}, "qubits on fire"), ({"status": "Cancelled"}, "cancelled")],
)
def test_failed_jobs_are_final(client, service, ending, words):
    client.ending = ending
    job = IBMBackend("fake_manila", service=service).submit(task())
    with pytest.raises(JobError, match=f"^job job-0 failed: .*{words}"):
        job.result()


def test_missing_devices_accounts_and_packages(service, monkeypatch, tmp_path):
    with pytest.raises(BackendUnavailable, match="the account has no backend 'ibm_nowhere'; it has fake_manila"):
        IBMBackend("ibm_nowhere", service=service)
    monkeypatch.setattr(
        "qiskit_ibm_runtime.accounts.management._DEFAULT_ACCOUNT_CONFIG_JSON_FILE", str(tmp_path / "none.json")
    )
    for name in ("QISKIT_IBM_TOKEN", "QISKIT_IBM_CHANNEL", "QISKIT_IBM_URL", "QISKIT_IBM_INSTANCE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        BackendUnavailable, match=r"no IBM Quantum account is saved here; .*save_account\(token="
    ) as told:
        IBMBackend("ibm_torino")
    assert "\n" not in str(told.value)
    monkeypatch.setitem(sys.modules, "qiskit_ibm_runtime", None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'qkan-toolkit\[ibm\]'"):
        IBMBackend("aer")


def test_an_account_that_cannot_be_checked_is_no_bad_account():
    """Without a network the package says that the account is invalid."""
    from qiskit_ibm_runtime.accounts import InvalidAccountError
    from requests.exceptions import ConnectionError as NoConnection

    def refused():
        try:
            raise NoConnection("no name service")
        except NoConnection:
            raise InvalidAccountError("check your token") from None

    with pytest.raises(InvalidAccountError) as told:
        refused()
    assert _ibm_service.may_pass(told.value)
    assert not _ibm_service.may_pass(InvalidAccountError("check your token"))


def test_options():
    with pytest.raises(OptionError, match="backend=None must be a device such as 'ibm_torino', or, simulated, 'Fake"):
        IBMBackend()
    with pytest.raises(OptionError, match="primitive='diviner'"):
        IBMBackend("aer", primitive="diviner")
    with pytest.raises(OptionError, match="mode='bulk'"):
        IBMBackend("aer", mode="bulk")
    with pytest.raises(OptionError, match="optimization_level=7"):
        IBMBackend("aer", optimization_level=7)
    with pytest.raises(OptionError, match="resilience_level is an option of the estimator"):
        IBMBackend("aer", resilience_level=1)
    with pytest.raises(OptionError, match="device 'FakeMnilaV2' is not bundled"):
        IBMBackend("FakeMnilaV2")
    with pytest.raises(OptionError, match=r"layout=\[0, 0\]"):
        IBMBackend("FakeManilaV2", layout=[0, 0])


def test_the_package_still_takes_these_arguments():
    """A release that renames one fails here, not on a device."""
    from qiskit_ibm_runtime import Batch, EstimatorV2, QiskitRuntimeService, SamplerV2, Session
    from qiskit_ibm_runtime.options import EstimatorOptions, SamplerOptions

    wanted = {
        QiskitRuntimeService.__init__: {"channel", "instance"},
        QiskitRuntimeService.save_account: {"token", "instance"},
        QiskitRuntimeService.backend: {"name", "instance"},
        QiskitRuntimeService.job: {"job_id"},
        QiskitRuntimeService.jobs: {"job_tags", "limit"},
        Batch: {"backend"},
        Session: {"backend"},
        SamplerV2: {"mode"},
        SamplerV2.run: {"pubs", "shots"},
        EstimatorV2: {"mode"},
        EstimatorV2.run: {"pubs", "precision"},
    }
    for call, names in wanted.items():
        assert names <= set(inspect.signature(call).parameters), call
    for options in (SamplerOptions(), EstimatorOptions()):
        assert hasattr(options.environment, "job_tags")
        assert hasattr(options.simulator, "seed_simulator")
    assert hasattr(EstimatorOptions(), "resilience_level")


class Crash(BaseException):
    """Stands for the end of the process."""


def test_deployments_go_on_with_jobs_they_had_not_recorded(client, tmp_path, monkeypatch):
    """Killed between submission and the ledger's entry: the job is found by its tag, and no session stays open."""
    model = qkan.QKAN([2, 2], reps=1, seed=0)  # 12 circuits, packed by 4: a qubit is read too badly

    def start():
        backend = IBMBackend("fake_manila", 500, service=Service(client), mode="session")
        return deploy(
            model, backend, ledger=tmp_path / "run.sqlite", readout_mitigation=True, progress=False, delay=0.001
        )

    def crash(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "submitted", crash)
        with pytest.raises(Crash):
            start()
    assert len(client.made("program_run")) == 1
    run = start()
    assert len(client.made("program_run")) == run.plan().jobs == 3
    assert len(client.jobs) == len({job["tags"][0] for job in client.jobs.values()}) == 3
    assert run.plan().blocks[0].copies == 4
    assert len(client.made("close_session")) == len(client.made("create_session")) == 2
    assert run.report().blocks[0].rms < 0.15
    start()
    assert len(client.made("program_run")) == 3
