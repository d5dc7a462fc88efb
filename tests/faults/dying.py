"""`python dying.py COUNT MOMENT <overrides>`: a run that is killed around its write number COUNT.

Only what the disk sees matters to the next run, so each place to die is before a file's content is
written, between that and the file's appearance, or after it. With a COUNT of 0 it ends by itself.
"""

import os
import signal
import sys

COUNT, MOMENT = int(sys.argv[1]), sys.argv[2]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def main():
    from benchmark import cli, files

    written = 0
    synchronize, replace = files.synchronize, os.replace

    def synchronize_or_die(path):
        nonlocal written
        if files.TEMPORARY.fullmatch(path.name):  # not the folder, once the file is in it
            written += 1
            if 0 < COUNT == written and MOMENT == "cut":
                content = path.read_bytes()
                path.write_bytes(content[: len(content) // 2])
                die()
        synchronize(path)

    def replace_or_die(source, target):
        if 0 < COUNT == written and MOMENT == "before":
            die()
        replace(source, target)
        if 0 < COUNT == written and MOMENT == "after":
            die()

    files.synchronize, files.os.replace = synchronize_or_die, replace_or_die
    sys.argv = ["benchmark", *sys.argv[3:]]
    cli.main()


if __name__ == "__main__":
    main()
