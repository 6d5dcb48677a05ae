"""Receives mail with aiosmtpd, an SMTP server that is not Hilo's code, and keeps each as one .eml file.

Each file begins with the envelope as the server saw it (X-Envelope-From, one X-Envelope-To per recipient), then the
mail byte for byte. A mail answered 250 is on disk. The port is written to PORT-FILE once the server listens.
"""

import argparse
import asyncio
import itertools
import os
import pathlib
import time

from aiosmtpd.smtp import SMTP


class Keeper:
    def __init__(self, folder):
        self.folder = folder
        self.count = itertools.count()

    async def handle_DATA(self, server, session, envelope):
        name = f"{time.time_ns():020d}-{next(self.count):06d}"
        head = [f"X-Envelope-From: {envelope.mail_from}"]
        head += [f"X-Envelope-To: {recipient}" for recipient in envelope.rcpt_tos]
        temporary = self.folder / f"{name}.tmp"
        with open(temporary, "wb") as file:
            file.write("".join(f"{line}\r\n" for line in head).encode("utf-8"))
            file.write(envelope.content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.folder / f"{name}.eml")
        return f"250 2.0.0 kept as {name}"


async def serve(folder, port_file):
    loop = asyncio.get_running_loop()
    keeper = Keeper(folder)
    server = await loop.create_server(
        lambda: SMTP(keeper, hostname="mx.cliente.example", enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    temporary = port_file.with_suffix(".tmp")
    temporary.write_text(f"{port}\n")
    temporary.rename(port_file)
    await server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--port-file", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(serve(arguments.folder, arguments.port_file))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
