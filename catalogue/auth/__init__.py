"""Who may come in, and who they are: static tokens, access tokens of OpenID Connect issuers, the token endpoint of the demonstration."""
