"""Accounts with providers: where their secrets are, what they show to which servers, and how they renew it."""

from downloader.accounts.base import NO_ACCOUNT, Account
from downloader.accounts.opening import Accounts

__all__ = ["NO_ACCOUNT", "Account", "Accounts"]
