"""``python -m training``"""

from command_line.process import run_process
from training.cli import main

if __name__ == "__main__":
    run_process(main)
