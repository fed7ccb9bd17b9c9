"""IBM's primitives, on simulated devices and with a stand-in for the service's connection."""

from backend_contract import BackendContract

from qkan.circuits.backends.ibm import IBMBackend


class TestIBM(BackendContract):
    kind = IBMBackend.capabilities
    seeds = range(3)

    def make(self, shots=None, **options):
        return IBMBackend("aer", shots=shots, **options)
