"""A portfolio over ten years of made-up prices: a backtest, day by day, in a session.

python examples/portfolio/portfolio.py STORE [--days 2520] [--assets 8]

Kill it whenever you like and run it again: the last line is the same as without a kill.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
from pathlib import Path

import pyi

WINDOW_DAYS = 20
REBALANCE_DAYS = 5
FEE = 0.001
CASH = 1_000_000.0


def next_prices(prices: list[float]) -> list[float]:
    """Return tomorrow's prices: a market that moves all of them, and luck of their own."""
    market = random.gauss(0.0003, 0.008)
    return [price * math.exp(market + random.gauss(0.0, 0.012)) for price in prices]


def wanted_weights(history: list[list[float]]) -> list[float]:
    """Return the shares of the portfolio: the half that rose most gets the same share of it each, the rest nothing."""
    gains = [last / first for first, last in zip(history[0], history[-1], strict=True)]
    best = sorted(range(len(gains)), key=lambda asset: (-gains[asset], asset))[: len(gains) // 2]
    return [1.0 / len(best) if asset in best else 0.0 for asset in range(len(gains))]


def backtest(session: pyi.Session, days: int, assets: int) -> None:
    """Trade day after day. Everything that lasts is in the session; the prices come from the module `random`."""
    state, journal = session.state, session.journal
    state["history"] = [[100.0] * assets]
    state["held"] = [0.0] * assets
    state["cash"] = CASH
    for day in session.steps(range(days)):
        history = [*state["history"], next_prices(state["history"][-1])][-WINDOW_DAYS:]
        prices, held, cash = history[-1], state["held"], state["cash"]
        if day % REBALANCE_DAYS == 0 and len(history) == WINDOW_DAYS:
            worth = cash + sum(map(float.__mul__, held, prices))
            for asset, weight in enumerate(wanted_weights(history)):
                slippage = 1.0 + random.uniform(0.0, 0.0005)
                amount = weight * worth / prices[asset] - held[asset]
                cash -= amount * prices[asset] * slippage + abs(amount) * prices[asset] * FEE
                held[asset] += amount
                journal.append("trade", day=day, asset=asset, amount=amount, price=prices[asset])
        state["history"], state["held"], state["cash"] = history, held, cash
        # What a step needs comes from the session, the end of the file so far too: a variable would not survive.
        name = f"equity/{day // 250}.csv"
        curve = bytes(session.workspace.read(name)).decode() if session.workspace.exists(name) else ""
        session.workspace.write(name, f"{curve}{day},{cash + sum(map(float.__mul__, held, prices))!r}\n")


def digest(session: pyi.Session) -> str:
    """Return a hash of everything that the backtest left."""
    found = hashlib.sha256(repr(dict(session.state)).encode())
    for entry in session.workspace.walk():
        found.update(entry.path.encode() + session.workspace.read(entry.path))
    for event in session.journal:
        found.update(f"{event.kind} {event.data}".encode())
    return found.hexdigest()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Backtest a portfolio in a session that survives kill -9.")
    parser.add_argument("store", type=Path)
    parser.add_argument("--days", type=int, default=2520)
    parser.add_argument("--assets", type=int, default=8)
    parser.add_argument("--every", type=int, help="days between checkpoints (default: 1)")
    options = parser.parse_args()
    random.seed(20261122)
    with pyi.session(options.store, "portfolio", every=options.every) as session:
        print(f"from day {session.done}", flush=True)
        backtest(session, options.days, options.assets)
        print(f"{digest(session)} {session.done} days, resumed {session.report.resumes} times", flush=True)


if __name__ == "__main__":
    main()
