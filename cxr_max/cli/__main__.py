"""`python -m cxr_max.cli`, for launchers of several processes: `accelerate launch -m cxr_max.cli eval ...`."""

from cxr_max.cli import main

if __name__ == "__main__":
    main()
