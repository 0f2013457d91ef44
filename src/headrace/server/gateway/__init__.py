"""The gateway: `/v1/...` as the official clients of OpenAI and Anthropic speak it, over the models of an app."""

from headrace.server.gateway.gateway import Gateway
from headrace.server.gateway.offer import Offer

__all__ = ["Gateway", "Offer"]
