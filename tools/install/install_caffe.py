#!/usr/bin/env python3
"""Install a real BVLC Caffe 1.0 (CPU, Python 3.9) without root, from Debian 11's packages.

    make caffe                                   # the usual way
    make caffe CAFFE_ARCHIVE=<address of a Debian archive that still has "bullseye">
    make caffe CAFFE_DEBS=<folder of .deb files> # no network at all
    make caffe CAFFE_ROOT=<your own Caffe build> # nothing is installed

The packages go to a cache folder of the user, shared by all clones of the project; this clone gets `.caffe/bin/caffe`,
`.caffe/bin/python` and the other programs of Caffe. If they are installed, nothing is downloaded again. After an
interruption the installation starts again from the beginning: the cache folder appears by one rename.

Uses only the standard library, apt-get, dpkg-deb and tar.
"""

import concurrent.futures
import fcntl
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import urllib.parse

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SUITE = "bullseye"
# patchelf is needed by the installation itself, the rest by Caffe and the project's tools.
PACKAGES = (
    "caffe python3-caffe libopenblas0-pthread python3-lmdb python3-opencv python3-tqdm python3-pytest patchelf".split()
)
PROGRAMS = ("caffe", "convert_imageset", "compute_image_mean", "extract_features", "caffe-gtest")
# Part of the cache folder's name: raise it when the way of installing changes.
RECIPE = "bvlc-caffe-1.0-bullseye-4"
NOT_KEPT = ("doc", "icons", "locale", "man", "javascript", "perl", "X11", "zoneinfo", "lintian", "bug")
LIBRARIES = "usr/lib/x86_64-linux-gnu"


class InstallError(Exception):
    """A failure of the installation; the message says what to do."""


def obstacle():
    """Why Debian 11's amd64 programs cannot be installed or run here; None where they can be."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        this = f"{platform.system()} on {platform.machine()}"
        return f"BVLC Caffe's packages are for Linux on x86-64, this is {this}"
    missing = next((program for program in ("dpkg-deb", "tar") if shutil.which(program) is None), None)
    return missing and f"{missing} is not on this machine, and is needed to unpack"


def cache_folder():
    """The folder for installed Caffes: FACE_CASCADE_CACHE, or a folder in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(os.environ.get("FACE_CASCADE_CACHE") or os.path.join(base, "face-cascade"))


def run(command, what):
    """Run a command; raise InstallError with the end of its output when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        tail = "\n".join(done.stdout.strip().splitlines()[-5:])
        raise InstallError(f"{what} failed (exit {done.returncode}):\n{tail}")
    return done.stdout


def debian_archive():
    """The address of the Debian archive in this machine's own apt set-up."""
    listing = run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], "reading apt's set-up")
    for address in listing.split():
        if urllib.parse.urlparse(address).path.rstrip("/").endswith("debian"):
            return address
    raise InstallError(
        "apt on this machine knows no Debian archive; give one: make caffe CAFFE_ARCHIVE=<address>, "
        "or a folder of .deb files: make caffe CAFFE_DEBS=<folder>"
    )


def download(archive, work):
    """Download PACKAGES and all they need of SUITE into `work`; return the .deb files, signature checked."""
    if shutil.which("apt-get") is None:
        raise InstallError(
            "apt-get is not on this machine; give a folder of .deb files (make caffe CAFFE_DEBS=<folder>) "
            "or your own build (make caffe CAFFE_ROOT=<folder>)"
        )
    archive = archive or debian_archive()
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    keyring = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    signed = f" signed-by={keyring}" if keyring.exists() else ""
    sources = work / "sources.list"
    sources.write_text(f"deb [arch=amd64{signed}] {archive} {SUITE} main\n")
    settings = {
        "Dir::State": work / "state",
        "Dir::State::status": "/dev/null",  # as if nothing were installed: everything needed is downloaded
        "Dir::Cache": work / "cache",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Architecture": "amd64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
        "Acquire::Check-Valid-Until": "false",  # the index of an archived release has expired
        "Acquire::Retries": "3",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    hint = f"fetching Debian 11 packages from {archive}"
    run(["apt-get", *options, "-qq", "--error-on=any", "update"], hint)
    run(["apt-get", *options, "-qq", "-y", "--download-only", "install", *PACKAGES], hint)
    return sorted((work / "cache/archives").glob("*.deb"))


def unpack(debs, root):
    """Unpack .deb files into folder `root`, without documentation, icons and locales."""
    root.mkdir()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda deb: run(["dpkg-deb", "-x", str(deb), str(root)], f"unpacking {deb}"), debs))
    for name in NOT_KEPT:
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)


def link_programs(root, final):
    """Make the programs in `root` find their own loader and libraries once `root` is moved to `final`.

    Writing both into the programs, instead of starting them through the loader, keeps sys.executable
    and everything started through it working.
    """
    folders = (f"{LIBRARIES}/openblas-pthread", LIBRARIES, "lib/x86_64-linux-gnu", "usr/lib")
    search = ":".join(str(final / folder) for folder in folders)
    loader = "lib/x86_64-linux-gnu/ld-2.31.so"
    patchelf = [str(root / loader), "--library-path"]
    patchelf += [":".join(str(root / folder) for folder in folders), str(root / "usr/bin/patchelf")]
    for name in (*PROGRAMS, "python3.9"):
        program = root / "usr/bin" / name
        if not program.exists():
            raise InstallError(f"the packages hold no {name}: is the folder of .deb files complete?")
        # --force-rpath: an RPATH, unlike a RUNPATH, also serves the libraries of libraries.
        command = [*patchelf, "--force-rpath", "--set-rpath", search]
        command += ["--set-interpreter", str(final / loader), str(program)]
        run(command, f"preparing {name}")
    # A library's own RUNPATH hides the program's search path from what that library needs.
    for library in (root / LIBRARIES / "openblas-pthread").glob("*.so*"):
        run([*patchelf, "--remove-rpath", str(library)], f"preparing {library.name}")


def mend_pycaffe(root):
    """Make caffe.io.load_image work: Debian 11's scikit-image has renamed an argument that pycaffe uses."""
    path = root / "usr/lib/python3/dist-packages/caffe/io.py"
    text = path.read_text()
    path.write_text(text.replace("as_grey=", "as_gray="))


def install(cache, archive=None, debs=None):
    """Install into `cache` unless that is done already; return the folder. Raises InstallError."""
    final = cache / RECIPE
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left_over in cache.glob(f"{RECIPE}.partial-*"):
            shutil.rmtree(left_over)
        if final.exists():
            return final
        if obstacle():
            raise InstallError(
                f"{obstacle()}; build Caffe yourself and give its folder: make caffe CAFFE_ROOT=/path/to/caffe"
            )
        with tempfile.TemporaryDirectory(prefix=f"{RECIPE}.partial-", dir=str(cache)) as folder:
            work, root = pathlib.Path(folder), pathlib.Path(folder, "root")
            if debs is None:
                print("make caffe: downloading BVLC Caffe 1.0 and what it needs, about 250 MB", flush=True)
                files = download(archive, work)
            else:
                files = sorted(pathlib.Path(debs).glob("*.deb"))
                if not files:
                    raise InstallError(f"no .deb file in {debs}")
            print(f"make caffe: unpacking {len(files)} packages into {final}", flush=True)
            unpack(files, root)
            link_programs(root, final)
            mend_pycaffe(root)
            root.rename(final)
    return final


def of_packages(final):
    """The programs of a Caffe installed in folder `final`, dict name -> path, and shell lines for those of Caffe."""
    programs = {name: final / "usr/bin" / name for name in PROGRAMS}
    programs["python"] = final / "usr/bin/python3.9"
    # An embedded Python takes the python3 on the PATH for its own: one of a virtual environment, as .venv's once it is
    # activated, leaves out the packages of Caffe.
    return programs, dict.fromkeys(PROGRAMS, f'export PYTHONHOME="{final}/usr" PATH="{final}/usr/bin:$PATH"')


def of_own_build(root):
    """The same of a user's own build at `root` (make's or cmake's layout). Raises InstallError."""
    tools = next((root / d for d in ("build/tools", "tools", "bin") if (root / d / "caffe").exists()), None)
    if tools is None:
        raise InstallError(f"CAFFE_ROOT={root}: no build/tools/caffe, tools/caffe or bin/caffe in it")
    if not (root / "python/caffe").is_dir():
        raise InstallError(f"CAFFE_ROOT={root}: no python/caffe in it; build it with `make pycaffe`")
    programs = {name: tools / name for name in PROGRAMS if (tools / name).exists()}
    programs["python"] = shutil.which("python3")
    return programs, dict.fromkeys(programs, f'export PYTHONPATH="$PYTHONPATH:{root}/python"')


def install_here(archive=None, debs=None, root=None, target=REPOSITORY / ".caffe/bin"):
    """Install BVLC Caffe for this clone and try it: start scripts in folder `target`, which a failure leaves as it was.

    archive, debs: where the packages come from, see `install`; root: a user's own build, which is used instead
    Raises InstallError, OSError.
    """
    programs, settings = of_own_build(root.resolve()) if root else of_packages(install(cache_folder(), archive, debs))
    target.parent.mkdir(parents=True, exist_ok=True)
    # Tried in a folder beside `target`, because `target` may hold start scripts that work, and `caffe` in it means that
    # Caffe is installed.
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.partial-", dir=str(target.parent)) as made:
        for name, program in programs.items():
            wrapper, text = pathlib.Path(made, name), pathlib.Path(__file__).with_name("wrapper.sh").read_text()
            wrapper.write_text(text.replace("@PROGRAM@", str(program)).replace("@SETTINGS@", settings.get(name, "")))
            wrapper.chmod(0o755)
        run([os.path.join(made, "python"), "-c", "import cv2, caffe, lmdb, python_layers"], "importing caffe")
        target.mkdir(exist_ok=True)
        for name in sorted(programs, key="caffe".__eq__):  # `caffe` last
            pathlib.Path(made, name).replace(target / name)


def main():
    # What make was given reaches this program through the environment.
    archive, debs, root = (os.environ.get(f"ARG_CAFFE_{name}") or None for name in ("ARCHIVE", "DEBS", "ROOT"))
    target = REPOSITORY / ".caffe/bin"
    try:
        install_here(archive, debs, root and pathlib.Path(root), target)
    except (InstallError, OSError) as error:
        sys.exit(f"error: make caffe: {error}")
    except KeyboardInterrupt:
        sys.exit("make caffe: interrupted; nothing incomplete is left behind")
    print(f"make caffe: ready: {target}/caffe and {target}/python")


if __name__ == "__main__":
    main()
