"""Packs a folder so that the same files give the same bytes.

    python archive.py FOLDER ARCHIVE.tar.gz

Entries are in the order of their names, of nobody, and of the time that SOURCE_DATE_EPOCH tells.
"""

import gzip
import os
import pathlib
import sys
import tarfile


def main(folder, archive):
    folder = pathlib.Path(folder)
    time = int(os.environ["SOURCE_DATE_EPOCH"])

    def plain(entry):
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = time
        entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    with open(archive, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=time) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in [folder, *sorted(folder.rglob("*"))]:
                name = path.relative_to(folder.parent).as_posix()
                tar.add(path, name, recursive=False, filter=plain)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
