"""``python -m galsim_vae.cli`` is ``galsim-vae``."""

import sys

from .main import main

sys.exit(main())
