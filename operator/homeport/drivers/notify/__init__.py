"""Ways to tell somebody: HTTP and SMTP, to addresses that may be reached only."""

from homeport.drivers.notify.errors import NotDelivered
from homeport.drivers.notify.guard import Guard, NotAllowed
from homeport.drivers.notify.http import Http
from homeport.drivers.notify.smtp import Letter, MailServer, send

__all__ = ["Guard", "Http", "Letter", "MailServer", "NotAllowed", "NotDelivered", "send"]
