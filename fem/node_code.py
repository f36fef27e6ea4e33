"""Writing LLVM instructions for what a time step makes of the product K y at the nodes of a line.

Without damping, or where it is one number, that is u⁺ = a u + b u⁻ − s L y. Else (see `lane_steps`)

    f = L u,    y = u − Δt²/12 f − E ((u − u⁻) − Δt²/2 f),    u⁺ = u + B (u − u⁻) − S K y + T (5 f + f⁻),

with E = T = 0 where D has its most common value D0. Absorbing sides damp few nodes, and spare the others the
reading of tables.
"""

from dataclasses import dataclass

from llvmlite import ir  # type: ignore[import-untyped]

from slimwave.fem.lane_code import Lanes, Memory


@dataclass(frozen=True)
class Node:
    """A node of a line.

    Attributes
    ----------
    index, slot
        Where it lies in a field, and in a table that is ordered by lines (`lanes.LaneLayout.by_lines`).
    force, inverse_mass
        K y and 1/M there.
    """

    memory: Memory
    index: ir.Value
    slot: ir.Value
    force: Lanes
    inverse_mass: Lanes

    def load(self, field: ir.Value) -> Lanes:
        """Value of a field."""
        return self.memory.load(field, self.index)

    def store(self, value: Lanes, field: ir.Value) -> None:
        """Set the value of a field."""
        self.memory.store(value, field, self.index)

    def look_up(self, table: ir.Value) -> Lanes:
        """Value of a table."""
        return self.memory.load(table, self.slot)


def finish(nodes: list[Node], fields: list[ir.Value], factors: list[Lanes], *, edges_only: bool) -> None:
    """Write the end of a line.

    Parameters
    ----------
    fields, factors
        (x, old, out) and (a, b, s) for out ← a·x + b·old − s·L y;
        (u, u⁻, y, f, E) and (1, Δt²/2, Δt²/12) for y and f;
        (u, u⁻, u⁺, f, f⁻, B, S, T) and (a, b, s) for u⁺, where the numbers hold for D = D0.
        f, E, B, S and T are ordered by lines.
    edges_only
        Whether D = D0 but at the first node of the line.
    """
    plain, damped = _ENDINGS[len(fields)]
    for k, node in enumerate(nodes):
        ending = plain if edges_only and k > 0 else damped
        ending(node, fields, factors)


def _combine(node: Node, fields: list[ir.Value], factors: list[Lanes]) -> None:
    x, old, out, *_ = fields
    a, b, s = factors
    kept = node.load(x) * a + node.load(old) * b
    node.store(kept - node.force * (s * node.inverse_mass), out)


def _combine_damped(node: Node, fields: list[ir.Value], _factors: list[Lanes]) -> None:
    u, old, out, force, last_force, behind, push, pull = fields
    now = node.load(u)
    kept = now + node.look_up(behind) * (now - node.load(old)) - node.look_up(push) * node.force
    known = node.look_up(force) * 5.0 + node.look_up(last_force)
    node.store(kept + node.look_up(pull) * known, out)


def _predict(node: Node, fields: list[ir.Value], factors: list[Lanes]) -> None:
    u, _, y, *_ = fields
    node.store(node.load(u) - factors[2] * (node.force * node.inverse_mass), y)


def _predict_damped(node: Node, fields: list[ir.Value], factors: list[Lanes]) -> None:
    u, old, y, known, ease = fields
    _, half, twelfth = factors
    now, force = node.load(u), node.force * node.inverse_mass
    node.memory.store(force, known, node.slot)
    change = now - node.load(old) - half * force
    node.store(now - twelfth * force - node.look_up(ease) * change, y)


_ENDINGS = {3: (_combine, _combine), 5: (_predict, _predict_damped), 8: (_combine, _combine_damped)}
"""Endings without and with damping of its own, by the number of fields."""
