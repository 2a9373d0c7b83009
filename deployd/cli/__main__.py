"""``python -m deployd.cli`` is deployctl of the same interpreter."""

from deployd.cli.main import main

main()
