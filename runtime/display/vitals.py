"""Temperature and throttling of the machine, looked up now and then by a thread of its own: no frame waits for it."""
from __future__ import annotations

import shutil
from pathlib import Path
from threading import Event, Thread
from typing import Any

from .. import doctor

THERMAL_ZONE = Path("/sys/class/thermal/thermal_zone0/temp")  # thousandths of a degree; the processor's on every Pi
EVERY_SECONDS = 5


def read_vitals(thermal_zone: Path = THERMAL_ZONE) -> dict[str, Any]:
    """celsius: degrees or None. power: what doctor says of voltage and throttling, None off the Pi; power_bad: if so."""
    try:
        celsius = int(thermal_zone.read_text()) / 1000
    except (OSError, ValueError):
        celsius = None
    power = doctor.power_finding(doctor.vcgencmd("get_throttled")) if shutil.which("vcgencmd") else None
    return {"celsius": celsius, "power": power and power.found, "power_bad": bool(power and power.mend)}


class Vitals:
    """`latest` is at most EVERY_SECONDS old, and read without waiting; empty until they were read once."""

    def __init__(self):
        self.latest: dict[str, Any] = {}
        self._over = Event()
        self._thread = Thread(target=self._keep_reading, name="vitals", daemon=True)
        self._thread.start()

    def _keep_reading(self) -> None:
        while True:
            self.latest = read_vitals()
            if self._over.wait(EVERY_SECONDS):
                return

    def close(self) -> None:
        self._over.set()
        self._thread.join()
