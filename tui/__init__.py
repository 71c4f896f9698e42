import os

# A key is drawn at the next tick of Textual's clock, along with all else that has changed by then: ticks of 4 ms in
# place of its 17 halve what a key takes. It costs nothing at rest, where the clock stands. Read once, at its import.
os.environ.setdefault("TEXTUAL_FPS", "250")
