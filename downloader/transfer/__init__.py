"""The transfer engine: one file from a link (HTTP, S3, a local path) to a local file, resumed, checked and whole, or not at all.

Who may read, and how often at once, is not decided here: whoever knows accounts and limits hands in an `Access`. Whoever wants what
is not whole to outlive the process hands in the `Area` of the scratch disk (`area_of`), and the name of the product as `scope`.
"""

from downloader.transfer.access import OPEN, Access, OpenAccess
from downloader.transfer.area import Area, area_of
from downloader.transfer.engine import Expectation, Transfer
from downloader.transfer.pace import BytesCallback
from downloader.transfer.policy import Policy, policy_of

__all__ = ["OPEN", "Access", "Area", "BytesCallback", "Expectation", "OpenAccess", "Policy", "Transfer", "area_of", "policy_of"]
