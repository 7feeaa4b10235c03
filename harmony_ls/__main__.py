"""``python -m harmony_ls``: the same as the ``harmony-ls`` command."""

from harmony_ls.cli import main

if __name__ == "__main__":
    main()
