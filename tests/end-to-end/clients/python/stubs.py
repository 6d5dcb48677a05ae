"""Has protoc (grpcio-tools) make what foreign clients need of the contracts: Python stubs, and a descriptor set for others.

    stubs.py PROTO STUBS DESCRIPTORS

reads every contract below PROTO, writes Python modules into the folder STUBS and the file DESCRIPTORS, which also has
google.rpc's error details (their contract comes with googleapis-common-protos).
"""

import importlib.resources
import pathlib
import sys

import grpc_tools
from google import rpc
from grpc_tools import protoc


def main():
    proto, stubs, descriptors = (pathlib.Path(argument) for argument in sys.argv[1:])
    contracts = sorted(str(path.relative_to(proto)) for path in (proto / "hilo").rglob("*.proto"))
    known = [importlib.resources.files(grpc_tools) / "_proto", pathlib.Path(rpc.__path__[0]).parents[1]]
    paths = [f"--proto_path={path}" for path in (proto, *known)]
    python = [f"--python_out={stubs}", f"--grpc_python_out={stubs}"]
    described = [f"--descriptor_set_out={descriptors}", "--include_imports"]
    for wanted in ([*python, *contracts], [*described, *contracts, "google/rpc/error_details.proto"]):
        if protoc.main(["protoc", *paths, *wanted]) != 0:
            raise SystemExit("protoc refused the contracts")


if __name__ == "__main__":
    main()
