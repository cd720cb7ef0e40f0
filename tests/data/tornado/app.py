"""A Tornado app with the /health handler that tutorials show, and ways to make it misbehave."""

import asyncio
import os
import signal
import sys
import time

import tornado.web

in_flight = 0
healthy = True


class Counted(tornado.web.RequestHandler):
    """Knows how many requests are under way, so that a stop can let them finish."""

    def prepare(self):
        global in_flight
        in_flight += 1

    def on_finish(self):
        global in_flight
        in_flight -= 1


class MainHandler(Counted):
    def get(self):
        self.write("Hello, world")


class HealthHandler(Counted):
    def get(self):
        self.set_status(200 if healthy else 500)
        self.write({"status": "ok" if healthy else "broken"})


class SickHandler(Counted):
    def get(self):
        global healthy
        healthy = False
        self.write("from now on /health answers 500")


class HangHandler(Counted):
    def get(self):
        time.sleep(3600)  # blocks the loop: nothing else is answered any more


class SlowHandler(Counted):
    async def get(self):
        print("slow request began", flush=True)
        await asyncio.sleep(float(self.get_argument("s", "1")))
        self.write("finished")


async def main(port):
    app = tornado.web.Application(
        [
            (r"/", MainHandler),
            (r"/health", HealthHandler),
            (r"/sick", SickHandler),
            (r"/hang", HangHandler),
            (r"/slow", SlowHandler),
        ]
    )
    await asyncio.sleep(float(os.environ.get("START_DELAY", "0")))
    server = app.listen(port, "127.0.0.1")
    print(f"listening on {port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.stop()
    while in_flight:
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
