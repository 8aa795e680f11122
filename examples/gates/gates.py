"""A multiplier made of NAND gates, simulated event by event, in a session.

python examples/gates/gates.py STORE [--vectors 1500] [--bits 8]

Kill it whenever you like and run it again: the last line is the same as without a kill.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import pyi


@dataclass
class Netlist:
    """NAND gates: wires are numbers; gate g drives wire `output[g]` from two others, after so many picoseconds."""

    wires: int = 0
    gates: list[tuple[int, int, int, int]] = field(default_factory=list)

    def wire(self) -> int:
        """Return a new wire."""
        self.wires += 1
        return self.wires - 1

    def nand(self, a: int, b: int) -> int:
        """Add a gate; return the wire that it drives. The delays differ a little, so that there are glitches."""
        out = self.wire()
        self.gates.append((a, b, out, 20 + len(self.gates) * 7 % 13))
        return out

    def both(self, a: int, b: int) -> int:
        """Return a AND b, of two gates."""
        inverted = self.nand(a, b)
        return self.nand(inverted, inverted)

    def adder(self, a: int, b: int, carry: int) -> tuple[int, int]:
        """Return sum and carry of a full adder, of nine gates."""
        first = self.nand(a, b)
        half = self.nand(self.nand(a, first), self.nand(b, first))
        second = self.nand(half, carry)
        total = self.nand(self.nand(half, second), self.nand(carry, second))
        return total, self.nand(first, second)


def multiplier(bits: int) -> tuple[Netlist, list[int], list[int], list[int]]:
    """Return an array multiplier with the wires of both factors and of the product."""
    net = Netlist()
    zero = net.wire()
    left, right = [net.wire() for _ in range(bits)], [net.wire() for _ in range(bits)]
    row = [net.both(wire, right[0]) for wire in left] + [zero]
    product = [row[0]]
    for factor in right[1:]:
        carry, after = zero, []
        for wire, above in zip(left, row[1:], strict=True):
            total, carry = net.adder(above, net.both(wire, factor), carry)
            after.append(total)
        row = [*after, carry]
        product.append(row[0])
    return net, left, right, product + row[1:]


class Simulator:
    """Event-driven: a gate whose input changes decides anew, and its output changes when its delay is over."""

    def __init__(self, net: Netlist) -> None:
        """Prepare a netlist."""
        self._gates = net.gates
        self._readers: list[list[int]] = [[] for _ in range(net.wires)]
        for gate, (a, b, _, _) in enumerate(net.gates):
            for wire in {a, b}:
                self._readers[wire].append(gate)
        self._wires = net.wires

    def settled(self) -> bytearray:
        """Return the values of all wires when all inputs are 0."""
        values = bytearray(self._wires)
        for a, b, out, _ in self._gates:
            values[out] = 1 - (values[a] & values[b])
        return values

    def apply(self, values: bytearray, changes: dict[int, int], now_ps: int) -> tuple[int, int]:
        """Set inputs and run until nothing changes; return the time then and how often a wire changed."""
        # The number in the middle keeps what was decided later behind what was decided before, at the same time.
        events = [(now_ps, number, wire, value) for number, (wire, value) in enumerate(sorted(changes.items()))]
        decided, toggles = len(events), 0
        while events:
            now_ps, _, wire, value = heapq.heappop(events)
            if values[wire] == value:
                continue
            values[wire] = value
            toggles += 1
            for gate in self._readers[wire]:
                a, b, out, delay_ps = self._gates[gate]
                heapq.heappush(events, (now_ps + delay_ps, decided, out, 1 - (values[a] & values[b])))
                decided += 1
        return now_ps, toggles


def simulate(session: pyi.Session, vectors: int, bits: int) -> None:
    """Multiply random numbers. Everything that lasts is in the session; the numbers come from `numpy.random`."""
    net, left, right, product = multiplier(bits)
    simulator = Simulator(net)
    state = session.state
    state["values"], state["now_ps"], state["toggles"] = simulator.settled(), 0, 0
    for vector in session.steps(range(vectors)):
        values = bytearray(state["values"])
        a, b = (int(number) for number in np.random.randint(0, 1 << bits, 2))
        inputs = {wire: a >> place & 1 for place, wire in enumerate(left)}
        inputs |= {wire: b >> place & 1 for place, wire in enumerate(right)}
        now_ps, toggles = simulator.apply(values, inputs, state["now_ps"])
        result = sum(values[wire] << place for place, wire in enumerate(product))
        if result != a * b:
            raise ArithmeticError(f"vector {vector}: {a} x {b} gave {result}")
        state["values"], state["now_ps"], state["toggles"] = values, now_ps + 1000, state["toggles"] + toggles
        session.journal.append("vector", a=a, b=b, product=result, settled_ps=now_ps)
        if vector % 100 == 99:
            session.workspace.write(f"waves/{vector + 1:06}.bin", values)


def digest(session: pyi.Session) -> str:
    """Return a hash of everything that the simulation left."""
    found = hashlib.sha256(repr(dict(session.state)).encode())
    for entry in session.workspace.walk():
        found.update(entry.path.encode() + session.workspace.read(entry.path))
    for event in session.journal:
        found.update(f"{event.kind} {event.data}".encode())
    return found.hexdigest()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Simulate a multiplier in a session that survives kill -9.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--vectors", type=int, default=1500)
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--every", type=int, help="vectors between checkpoints (default: 1)")
    options = parser.parse_args()
    np.random.seed(20261122)
    with pyi.session(options.store, "gates", every=options.every) as session:
        print(f"from vector {session.done}", flush=True)
        simulate(session, options.vectors, options.bits)
        print(f"{digest(session)} {session.done} vectors, resumed {session.report.resumes} times", flush=True)


if __name__ == "__main__":
    main()
