"""What the Zoo screen asks for: every network in one line, and one network beside its paper."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from striate.catalogue import catalogue, page

router = APIRouter(prefix="/api/zoo")


@router.get("")
def networks() -> list[dict[str, Any]]:
    """Every network, in the order of the zoo."""
    return [entry.to_json() for entry in catalogue().values()]


@router.get("/network")
def network(name: str) -> dict[str, Any]:
    """One network, counted anew on the meta device and compared with its paper's table."""
    return page(name).to_json()
