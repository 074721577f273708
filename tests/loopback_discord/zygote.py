"""Starts real bot processes fast: imports everything once, then forks one for each order.

An order is a line of JSON on standard input, ``{"config": FILE, "log": FILE, "url": URL,
"gateway_url": URL, "pace": null}``; the answer is the process's id. A pace is the seconds between
edits and until a retry. The processes are children of this one, and can be killed like any other.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys


def main() -> None:
    import discord.gateway
    import discord.http
    import yarl

    import bot.app
    import bot.lifecycle.install_models  # whatever a start imports is there before the fork
    import engine.checkpoints.loading.load  # noqa: F401
    from bot.__main__ import main as run_bot

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead vanish by themselves
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if child := os.fork():
            print(child, flush=True)
            continue
        discord.http.Route.BASE = order["url"]
        discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(order["gateway_url"])
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if (pace := order["pace"]) is not None:
            interval_s, retry_s = pace
            bot.app.create_bot = functools.partial(
                bot.app.create_bot, edit_interval_s=interval_s, retry_s=retry_s
            )
        os._exit(run_bot(["--config", order["config"]]))


if __name__ == "__main__":
    main()
