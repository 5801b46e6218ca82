"""The only contact with Haystack, in both of its major versions."""

import os

# Haystack reports usage to its makers unless told otherwise, and looks when it is first imported: this comes before
# any import of it, as all contact with Haystack is below. A server keeps quiet unless its owner speaks.
os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
