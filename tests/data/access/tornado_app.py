"""Logs its requests as Tornado does once it is told to: 200 for all paths, 500 for /boom."""

import asyncio
import logging
import sys

import tornado.log
import tornado.web


class Handler(tornado.web.RequestHandler):
    def get(self, path):
        if path == "boom":
            raise tornado.web.HTTPError(500)
        self.write("hello")

    def post(self, path):
        self.set_status(201)


async def main(port):
    logging.getLogger().setLevel(logging.INFO)
    tornado.log.enable_pretty_logging()
    tornado.web.Application([(r"/(.*)", Handler)]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1])))
