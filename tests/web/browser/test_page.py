"""The page in a real browser: with mouse, touch and keyboard, on a phone and a desktop."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from beeagent.tracking import load_places
from support.page_agent import PageAgent

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
COUNTED_MS = 120_000  # until a drawn bee has crossed the line, on a machine with other work
NO_SESSION = "401"  # the browser logs the answer to its first question, who is signed in
Open = Callable[..., "Page"]


def stage_point(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return a point of the frame, in ratios, as a point of the window."""
    box = page.locator("#stage").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def drag(page: Page, *points: tuple[float, float]) -> None:
    page.mouse.move(*stage_point(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*stage_point(page, *point), steps=4)
    page.mouse.up()


def swipe(page: Page, *points: tuple[float, float]) -> None:
    """Move one finger, as the screen reports it."""
    session = page.context.new_cdp_session(page)

    def touch(kind: str, at: list[tuple[float, float]]) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in at]})

    touch("touchStart", [stage_point(page, *points[0])])
    for point in points[1:]:
        touch("touchMove", [stage_point(page, *point)])
    touch("touchEnd", [])


def tap(page: Page, x: float, y: float) -> None:
    page.touchscreen.tap(*stage_point(page, x, y))


def draw(page: Page, kind: str) -> None:
    """Begin to draw a place; the page has scrolled and changed its layout when this returns."""
    button = page.locator(f"#add-{kind}")
    if page.evaluate("navigator.maxTouchPoints > 0"):
        button.tap()
    else:
        button.click()
    page.wait_for_selector("#drawing:not([hidden])")


def wait_saved(page: Page, change: Callable[[], None]) -> None:
    """Make a change, and wait until the agent has kept it."""
    with page.expect_response(lambda response: response.request.method == "PUT") as kept:
        change()
    assert kept.value.status == 200, kept.value.text()


def count_of(page: Page, name: str) -> int:
    """Return how many bees have crossed a line, in both directions."""
    row = page.locator("table.counts tbody tr").filter(has_text=name)
    if row.count() == 0:
        return 0
    return sum(int(text) for text in row.locator(".count").all_inner_texts())


def wait_counted(page: Page, name: str, more_than: int) -> None:
    page.wait_for_function(
        """([name, least]) => {
            const rows = [...document.querySelectorAll("table.counts tbody tr")];
            const row = rows.find((row) => row.querySelector("th").textContent === name);
            const counts = [...(row?.querySelectorAll(".count") ?? [])].map((cell) => Number(cell.textContent));
            return counts.reduce((sum, count) => sum + count, 0) > least;
        }""",
        arg=[name, more_than],
        timeout=COUNTED_MS,
    )


def pixels(page: Page) -> str:
    return str(page.evaluate("document.getElementById('frame').toDataURL()"))


# ---- signing in


def test_link_signs_in_and_leaves_no_trace_in_the_address(agent: PageAgent, open_page: Open) -> None:
    page = open_page(agent.new_link())
    page.wait_for_selector("#stage[data-frame]")
    assert page.url == f"{agent.url}/"
    assert page.locator("#camera").inner_text() == "front"
    assert page.locator("#health").inner_text() == "Online"
    assert page.title() == "front \u2013 beeagent"


def test_used_link_is_refused_with_the_remedy(agent: PageAgent, open_page: Open) -> None:
    link = agent.new_link()
    open_page(link).wait_for_selector("#stage[data-frame]")
    page = open_page(link, expected=(NO_SESSION,))
    page.wait_for_selector("#sign-in-error:not(:empty)")
    assert "used or is too old" in page.locator("#sign-in-error").inner_text()
    assert page.locator("#view").is_hidden()


def test_used_link_opens_the_session_that_it_began(agent: PageAgent, open_page: Open) -> None:
    link = agent.new_link()
    page = open_page(link, expected=(NO_SESSION,))
    page.wait_for_selector("#stage[data-frame]")
    again = page.context.new_page()
    again.goto(link)
    again.wait_for_selector("#stage[data-frame]")
    assert again.url == f"{agent.url}/"


def test_without_a_session_there_is_only_the_sign_in(agent: PageAgent, open_page: Open) -> None:
    page = open_page(agent.url, expected=(NO_SESSION,))
    page.wait_for_selector("#sign-in-form")
    assert page.locator("#view").is_hidden()
    assert "data-frame" not in page.content()
    page.fill("#sign-in-secret", "a guess")
    page.click("#sign-in-button")
    page.wait_for_selector("#sign-in-error:not(:empty)")
    assert "wrong password" in page.locator("#sign-in-error").inner_text().lower()
    # The link, pasted where a password is asked for, will do.
    page.fill("#sign-in-secret", agent.new_link())
    page.keyboard.press("Enter")
    page.wait_for_selector("#stage[data-frame]")


def test_sign_out_ends_the_session(agent: PageAgent, signed_in: Open) -> None:
    page = signed_in(expected=(NO_SESSION,))
    agent.session = None
    page.click("#sign-out")
    page.wait_for_selector("#sign-in-form")
    assert "signed out" in page.locator("#sign-in-reason").inner_text()
    assert pixels(page) == page.evaluate(
        "(() => { const {width, height} = document.getElementById('frame');"
        " return Object.assign(document.createElement('canvas'), {width, height}).toDataURL(); })()"
    )
    page.reload()
    page.wait_for_selector("#sign-in-form")


# ---- the live view


def test_frames_change_and_have_boxes(signed_in: Open) -> None:
    page = signed_in()
    first = page.get_attribute("#stage", "data-frame")
    page.wait_for_function("(before) => document.getElementById('frame').toDataURL() !== before", arg=pixels(page))
    assert page.get_attribute("#stage", "data-frame") != first
    page.wait_for_selector(".layer-boxes .box", state="attached")
    page.wait_for_selector(".layer-tracks .trail", state="attached")
    page.wait_for_function("() => document.getElementById('readout').textContent.includes('frames/s')")


def test_paused_or_hidden_page_asks_for_nothing(signed_in: Open) -> None:
    page, other = signed_in(), signed_in()
    page.click("#pause")
    assert page.locator("#pause").inner_text() == "Resume"
    page.evaluate(
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.click("#pause")  # resumes, but nobody sees it
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for _ in range(8):  # frames that another page sees in the meantime
        frame = other.get_attribute("#stage", "data-frame")
        other.wait_for_function("(frame) => document.getElementById('stage').dataset.frame !== frame", arg=frame)
    assert asked == []
    with page.expect_response(re.compile("/api/live")):
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")


@pytest.mark.usefixtures("no_places")
def test_layers_of_the_overlay_can_be_hidden(signed_in: Open) -> None:
    page = signed_in()
    page.wait_for_selector(".layer-boxes .box")
    page.click("#show-boxes")
    assert page.get_attribute("#show-boxes", "aria-pressed") == "false"
    assert page.locator(".layer-boxes").is_hidden()
    page.click("#show-boxes")
    page.wait_for_selector(".layer-boxes .box")


def test_aim_shows_sharpness_with_its_peak_and_the_size_of_bees(signed_in: Open) -> None:
    page = signed_in()
    meter = page.get_by_role("meter", name="Sharpness")
    meter.wait_for()
    assert 0 < int(meter.get_attribute("aria-valuenow")) <= 100
    assert re.search(r"best \d+", meter.get_attribute("aria-valuetext"))
    page.wait_for_function("() => /\\d px in the frame/.test(document.getElementById('aim').textContent)")


# ---- places


@pytest.mark.usefixtures("no_places")
def test_line_drawn_by_mouse_counts_and_outlives_reload_and_restart(agent: PageAgent, signed_in: Open) -> None:
    page = signed_in(expected=(NO_SESSION, "ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET"))
    draw(page, "line")
    wait_saved(page, lambda: drag(page, (0.02, 0.55), (0.98, 0.55)))
    line = load_places(agent.places).lines["line-1"]
    assert line.points == (pytest.approx((0.02, 0.55), abs=0.01), pytest.approx((0.98, 0.55), abs=0.01))
    assert line.in_ == "up"

    wait_saved(page, lambda: page.click("#swap"))
    assert load_places(agent.places).lines["line-1"].in_ == "down"
    page.fill("#place-name", "the door")
    wait_saved(page, lambda: page.press("#place-name", "Enter"))
    assert list(load_places(agent.places).lines) == ["the-door"]
    wait_counted(page, "the-door", 0)

    page.reload()
    wait_counted(page, "the-door", 0)
    before = count_of(page, "the-door")

    agent.stop()
    page.wait_for_selector("#health[data-state=lost]")
    assert "No connection" in page.locator("#notice").inner_text()
    agent.start()
    page.wait_for_selector("#sign-in-form", timeout=60_000)
    assert "session has ended" in page.locator("#sign-in-reason").inner_text()

    page.goto(agent.link())
    page.wait_for_selector("#stage[data-frame]")
    wait_counted(page, "the-door", before - 1)
    assert page.locator(".place.line").get_attribute("data-place") == "the-door"
    wait_counted(page, "the-door", before)


@pytest.mark.usefixtures("no_places")
def test_points_move_by_mouse_and_escape_and_undo_take_it_back(agent: PageAgent, signed_in: Open) -> None:
    page = signed_in()
    draw(page, "zone")
    for point in ((0.2, 0.2), (0.6, 0.2), (0.6, 0.7)):
        page.mouse.click(*stage_point(page, *point))
    wait_saved(page, lambda: page.mouse.click(*stage_point(page, 0.2, 0.2)))  # the first corner closes it
    assert len(load_places(agent.places).zones["zone-1"].points) == 3

    wait_saved(page, lambda: drag(page, (0.6, 0.7), (0.3, 0.8)))
    assert load_places(agent.places).zones["zone-1"].points[2] == pytest.approx((0.3, 0.8), abs=0.01)

    page.mouse.move(*stage_point(page, 0.3, 0.8))
    page.mouse.down()
    page.mouse.move(*stage_point(page, 0.9, 0.9), steps=3)
    page.keyboard.press("Escape")
    page.mouse.up()
    assert "30 % from the left" in page.locator("[data-handle=point-2]").get_attribute("aria-label")

    wait_saved(page, lambda: drag(page, (0.4, 0.2), (0.4, 0.05)))  # the middle of an edge
    assert len(load_places(agent.places).zones["zone-1"].points) == 4
    wait_saved(page, lambda: page.click("#undo"))
    assert len(load_places(agent.places).zones["zone-1"].points) == 3
    wait_saved(page, lambda: page.click("#delete"))
    assert load_places(agent.places).zones == {}
    wait_saved(page, lambda: page.keyboard.press("Control+z"))
    assert list(load_places(agent.places).zones) == ["zone-1"]


@pytest.mark.usefixtures("no_places")
def test_line_turns_with_its_way_in_on_the_same_side(agent: PageAgent, signed_in: Open) -> None:
    page = signed_in()
    draw(page, "line")
    wait_saved(page, lambda: drag(page, (0.3, 0.5), (0.7, 0.5)))
    wait_saved(page, lambda: drag(page, (0.7, 0.5), (0.3, 0.95)))  # now down from its first end
    assert load_places(agent.places).lines["line-1"].in_ == "right"


@pytest.mark.usefixtures("no_places")
def test_places_drawn_by_finger(agent: PageAgent, signed_in: Open) -> None:
    page = signed_in(**PHONE)
    draw(page, "line")
    wait_saved(page, lambda: swipe(page, (0.1, 0.5), (0.4, 0.55), (0.9, 0.6)))
    line = load_places(agent.places).lines["line-1"]
    assert line.points == (pytest.approx((0.1, 0.5), abs=0.02), pytest.approx((0.9, 0.6), abs=0.02))
    wait_saved(page, lambda: swipe(page, (0.9, 0.6), (0.8, 0.4), (0.9, 0.2)))
    assert load_places(agent.places).lines["line-1"].points[1] == pytest.approx((0.9, 0.2), abs=0.02)

    draw(page, "zone")
    for point in ((0.2, 0.7), (0.5, 0.7), (0.4, 0.95)):
        tap(page, *point)
    wait_saved(page, lambda: page.tap("#drawing-done"))
    assert len(load_places(agent.places).zones["zone-1"].points) == 3

    draw(page, "mask")
    wait_saved(page, lambda: swipe(page, (0.6, 0.05), (0.9, 0.2), (0.95, 0.3)))
    assert len(load_places(agent.places).masks["mask-1"].points) == 4
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent"))


def tab_to(page: Page, text: str) -> None:
    page.wait_for_selector("#add-line")
    for _ in range(60):
        page.keyboard.press("Tab")
        if focused(page).startswith(text):
            return
    pytest.fail(f"no way by keyboard to {text!r}")


@pytest.mark.usefixtures("no_places")
def test_line_by_keyboard(agent: PageAgent, signed_in: Open) -> None:
    page = signed_in()
    keyboard = page.keyboard
    tab_to(page, "Add line")
    wait_saved(page, lambda: keyboard.press("Enter"))
    assert focused(page).startswith("line-1, end 1 of 2")
    x, y = load_places(agent.places).lines["line-1"].points[0]

    def move() -> None:
        keyboard.press("ArrowDown")
        keyboard.press("ArrowDown")
        keyboard.press("Shift+ArrowLeft")

    wait_saved(page, move)
    assert load_places(agent.places).lines["line-1"].points[0] == pytest.approx((x - 0.05, y + 0.02))
    tab_to(page, "line-1, end 2")
    wait_saved(page, lambda: keyboard.press("ArrowUp"))
    tab_to(page, "Move line-1")
    wait_saved(page, lambda: keyboard.press("Shift+ArrowUp"))
    assert load_places(agent.places).lines["line-1"].points[0] == pytest.approx((x - 0.05, y - 0.03))

    tab_to(page, "line-1")
    keyboard.press("Tab")
    keyboard.press("Control+a")
    keyboard.type("no/slash")
    keyboard.press("Enter")
    assert page.locator("#name-error").inner_text().startswith("Use 1 to 32 letters")
    assert page.get_attribute("#place-name", "aria-invalid") == "true"
    keyboard.press("Control+a")
    keyboard.type("door")
    wait_saved(page, lambda: keyboard.press("Enter"))
    tab_to(page, "Swap direction")
    wait_saved(page, lambda: keyboard.press("Enter"))
    assert load_places(agent.places).lines["door"].in_ == "down"
    assert focused(page) == "Swap direction"
    tab_to(page, "Delete")
    wait_saved(page, lambda: keyboard.press("Enter"))
    assert load_places(agent.places).lines == {}
    assert focused(page) == "Undo"
    wait_saved(page, lambda: keyboard.press("Enter"))
    assert list(load_places(agent.places).lines) == ["door"]


@pytest.mark.usefixtures("no_places")
def test_corners_of_a_zone_by_keyboard(agent: PageAgent, signed_in: Open) -> None:
    page = signed_in()
    tab_to(page, "Add zone")
    wait_saved(page, lambda: page.keyboard.press("Enter"))
    tab_to(page, "Add a corner after corner 1")
    wait_saved(page, lambda: page.keyboard.press("Enter"))
    assert focused(page).startswith("zone-1, corner 2 of 5")
    wait_saved(page, lambda: page.keyboard.press("Delete"))
    assert len(load_places(agent.places).zones["zone-1"].points) == 4
    page.keyboard.press("Escape")
    assert page.locator("#handles").is_hidden()


@pytest.mark.usefixtures("no_places")
def test_escape_and_cancel_leave_no_place(agent: PageAgent, signed_in: Open) -> None:
    page = signed_in()
    draw(page, "mask")
    page.mouse.click(*stage_point(page, 0.2, 0.2))
    assert page.locator(".layer-draft .corner").count() == 1
    page.keyboard.press("Escape")
    assert page.locator(".layer-draft *").count() == 0
    draw(page, "line")
    page.click("#drawing-cancel")
    assert page.locator("#drawing").is_hidden()
    assert page.locator(".place").count() == 0
    assert agent.places.read_text() == ""


@pytest.mark.usefixtures("no_places")
def test_corners_are_taken_back_and_closed_by_key(agent: PageAgent, signed_in: Open) -> None:
    page = signed_in()
    draw(page, "zone")
    for point in ((0.2, 0.2), (0.6, 0.2), (0.9, 0.9)):
        page.mouse.click(*stage_point(page, *point))
    page.keyboard.press("Backspace")
    page.mouse.click(*stage_point(page, 0.6, 0.7))
    wait_saved(page, lambda: page.keyboard.press("Enter"))
    zone = load_places(agent.places).zones["zone-1"]
    assert len(zone.points) == 3
    assert zone.points[2] == pytest.approx((0.6, 0.7), abs=0.01)


@pytest.mark.usefixtures("no_places")
def test_place_is_selected_in_the_frame_by_mouse_and_by_finger(agent: PageAgent, signed_in: Open) -> None:
    agent.places.write_text(SHOWN_PLACES, encoding="utf-8")
    for page, press in ((desk := signed_in(), desk.mouse.click), (phone := signed_in(**PHONE), phone.touchscreen.tap)):
        page.wait_for_selector(".place.line", state="attached")
        press(*stage_point(page, 0.3, 0.612))
        page.wait_for_selector(".place.line.selected", state="attached")
        assert page.locator("#place-name").input_value() == "door"


@pytest.mark.usefixtures("no_places")
def test_external_change_is_loaded_with_a_message(agent: PageAgent, signed_in: Open) -> None:
    page = signed_in(expected=("409",))
    draw(page, "line")
    wait_saved(page, lambda: drag(page, (0.1, 0.5), (0.9, 0.5)))
    agent.places.write_text("[zones.other]\npoints = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]\n", encoding="utf-8")
    page.click("#swap")
    page.wait_for_function("() => document.getElementById('places-error').textContent.includes('Someone else')")
    page.wait_for_selector(".place.zone[data-place=other]", state="attached")
    assert page.locator(".place.line").count() == 0


@pytest.mark.usefixtures("no_places")
def test_change_without_connection_is_saved_when_it_is_back(agent: PageAgent, signed_in: Open) -> None:
    page = signed_in(expected=("ERR_INTERNET_DISCONNECTED",))
    page.context.set_offline(True)
    page.wait_for_selector("#health[data-state=lost]")
    draw(page, "line")
    drag(page, (0.1, 0.3), (0.9, 0.3))
    page.wait_for_function("() => document.getElementById('places-error').textContent.startsWith('Not saved yet')")
    wait_saved(page, lambda: page.context.set_offline(False))
    assert list(load_places(agent.places).lines) == ["line-1"]
    page.wait_for_selector("#health[data-state=online]")


# ---- threshold


def test_threshold_preview_shows_the_change(signed_in: Open) -> None:
    page = signed_in()
    page.wait_for_function("() => document.getElementById('threshold-value').textContent !== ''")
    initial = float(page.locator("#threshold-value").inner_text())
    page.focus("#threshold-slider")
    page.keyboard.press("Home")
    lowest = float(page.locator("#threshold-value").inner_text())
    assert lowest < initial
    page.wait_for_function("() => document.getElementById('threshold-preview').textContent.startsWith('In the last')")
    page.wait_for_selector(".layer-boxes .box.comes", timeout=60_000)
    page.click("#threshold-cancel")
    assert page.locator("#threshold-preview").inner_text() == ""
    assert float(page.locator("#threshold-value").inner_text()) == initial

    page.focus("#threshold-slider")
    page.keyboard.press("ArrowRight")
    wait_saved(page, lambda: page.click("#threshold-keep"))
    page.reload()
    page.wait_for_function("() => document.getElementById('threshold-note').textContent.includes('set on this page')")
    assert float(page.locator("#threshold-value").inner_text()) == pytest.approx(initial + 0.01)
    wait_saved(page, lambda: page.click("#threshold-reset"))
    page.wait_for_function("() => !document.getElementById('threshold-note').textContent.includes('set on this page')")
    assert float(page.locator("#threshold-value").inner_text()) == initial


# ---- roles and states


@pytest.mark.usefixtures("no_places")
def test_viewer_sees_everything_and_can_change_nothing(agent: PageAgent, open_page: Open, signed_in: Open) -> None:
    editor = signed_in()
    draw(editor, "line")
    wait_saved(editor, lambda: drag(editor, (0.1, 0.5), (0.9, 0.5)))
    page = open_page(agent.url, expected=(NO_SESSION,))
    page.fill("#sign-in-secret", agent.viewer_password)
    page.click("#sign-in-button")
    page.wait_for_selector("#stage[data-frame]")
    page.wait_for_selector("#role:visible")
    page.wait_for_selector(".place.line[data-place=line-1]", state="attached")
    for control in ("#add", "#undo", "#threshold-keep", "#threshold-reset"):
        assert page.locator(control).is_hidden(), control
    assert page.locator("#threshold-slider").is_disabled()
    assert page.locator("#place-list button").count() == 0
    page.mouse.click(*stage_point(page, 0.5, 0.5))
    assert page.locator("#handles").is_hidden()
    headers = {"Content-Type": "application/json", "Origin": agent.url, "If-Match": '"x"'}
    assert page.context.request.put(f"{agent.url}/api/places", headers=headers, data="{}").status == 403
    assert page.context.request.get(f"{agent.url}/api/places", headers=headers).status == 200


def change_state(page: Page, **changes: object) -> None:
    """Let the page see another state of the agent than it has."""
    state = {**page.context.request.get(f"{page.url}api/state").json(), **changes}
    page.route("**/api/state", lambda route: route.fulfill(json=state))


@pytest.mark.parametrize(
    ("changes", "pill", "sentence"),
    [
        ({"state": "degraded", "reasons": ["broker: refuses the connection"]}, "Degraded", "broker: refuses"),
        ({"state": "asleep", "reasons": []}, "Asleep", "no frames are processed until it wakes up"),
        ({"tracking": False, "places_file": False, "places": {}}, "Online", "start the agent with --track"),
        ({"places_problem": "places.toml is in a folder"}, "Online", "places.toml is in a folder"),
        ({"aim": None}, "Online", "Shown from the first frame on"),
    ],
)
def test_each_state_has_a_remedy(signed_in: Open, changes: dict[str, Any], pill: str, sentence: str) -> None:
    page = signed_in()
    change_state(page, **changes)
    page.get_by_text(sentence).first.wait_for()
    assert page.locator("#health").inner_text() == pill


def test_sleeping_agent_is_shown(tmp_path: Path, open_page: Open) -> None:
    later = datetime.now().astimezone() + timedelta(hours=6)
    agent = PageAgent(tmp_path, "--track", "--active", f"{later:%H:%M}..{later + timedelta(hours=1):%H:%M}")
    agent.start()
    try:
        ended = ("ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET")
        page = open_page(agent.link(), expected=ended)  # the agent ends before the page
        page.wait_for_selector("#health[data-state=asleep]")
        assert "no frames are processed until it wakes up" in page.locator("#notice").inner_text()
        page.get_by_text("Asleep.").wait_for()
    finally:
        agent.end()


def test_missing_first_frame_is_reported(agent: PageAgent, open_page: Open) -> None:
    page = open_page("about:blank")
    page.route("**/api/live*", lambda route: route.fulfill(status=204))
    page.goto(agent.new_link())
    page.get_by_text("No new frame for 10 s").wait_for()


# ---- traffic


def test_traffic_is_a_chart_and_a_table(signed_in: Open) -> None:
    day = [
        {"at": "2026-05-04T08:00:00Z", "place": "door", "label": "bee", "in": 40, "out": 10},
        {"at": "2026-05-04T09:10:00Z", "place": "door", "label": "bee", "in": 3, "out": 7},
        {"at": "2026-05-04T09:10:00Z", "place": "zone", "label": "bee", "in": 1, "out": 0},
    ]
    page = signed_in()
    page.clock.set_fixed_time("2026-05-04T12:00:00Z")

    def answer(route: Route) -> None:
        rows = day if route.request.url.endswith("=24") else []
        route.fulfill(json={"from": "2026-05-03T12:00:00Z", "step_s": 600, "rows": rows})

    page.route("**/api/traffic*", answer)
    page.select_option("#traffic-hours", "6")
    page.get_by_text("No counts in this period").wait_for()
    assert page.locator("#traffic-chart").is_hidden()
    page.select_option("#traffic-hours", "24")
    page.wait_for_selector("#traffic-chart .bar-in")
    assert page.locator("#traffic-at").inner_text() == "43 in, 17 out"
    assert "43 in, 17 out" in page.get_attribute("#traffic-chart", "aria-label")
    into = [float(bar.get_attribute("y")) for bar in page.locator(".bar-in").all()]
    out = [float(bar.get_attribute("y")) for bar in page.locator(".bar-out").all()]
    assert max(into) < min(out)
    page.click("#traffic-details summary")
    cells = page.locator("#traffic-table tbody tr").all_inner_texts()
    assert [cell.split() for cell in cells] == [["11:10\u201311:20", "3", "7"], ["10:00\u201310:10", "40", "10"]]
    page.select_option("#traffic-place", "zone")
    assert page.locator("#traffic-at").inner_text() == "1 in, 0 out"


# ---- for the docs


def test_screenshots_of_the_docs(agent: PageAgent, signed_in: Open, tmp_path: Path) -> None:
    """They are kept in the folder that BEEAGENT_SCREENSHOTS names."""
    folder = Path(os.environ.get("BEEAGENT_SCREENSHOTS", tmp_path))
    agent.places.write_text(SHOWN_PLACES, encoding="utf-8")
    desk, phone = signed_in(), signed_in(**PHONE, color_scheme="dark")
    for page in (desk, phone):
        page.wait_for_selector(".place.line[data-place=door]", state="attached")
        show_day(page)
    desk.screenshot(path=folder / "page.jpg", type="jpeg", quality=64, full_page=True)
    phone.locator(".place-row", has_text="door").click()
    phone.locator("#handles .handle.point").first.wait_for()
    phone.screenshot(path=folder / "page-phone.jpg", type="jpeg", quality=80, scale="css")
    for name in ("page.jpg", "page-phone.jpg"):
        assert 10_000 < (folder / name).stat().st_size < 150_000, name


SHOWN_PLACES = """\
[lines.door]
points = [[0.16, 0.62], [0.84, 0.58]]
in = "up"

[zones.entrance]
points = [[0.30, 0.18], [0.70, 0.18], [0.72, 0.46], [0.28, 0.46]]
"""


def show_day(page: Page) -> None:
    """Let the page see the traffic and the counts of a day, instead of those of some seconds."""
    start = datetime.now(timezone.utc).replace(minute=0, second=0) - timedelta(hours=23)
    rows = []
    for step in range(6 * 23):
        at = start + timedelta(minutes=10 * step)
        busy = 60 * math.exp(-(((at.hour + at.minute / 60 - 11) / 4) ** 2))
        ways = {"in": 0.8 + 0.2 * math.sin(step * 2.1), "out": 0.8 + 0.2 * math.cos(step)}
        numbers = {way: round(busy * share) for way, share in ways.items()}
        rows.append({"at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "place": "door", "label": "bee", **numbers})
    traffic = {"from": rows[0]["at"], "step_s": 600, "rows": rows}
    total = {way: sum(row[way] for row in rows) for way in ("in", "out")}
    page.route("**/api/traffic*", lambda route: route.fulfill(json=traffic))
    change_state(
        page,
        frames_per_s=9.8,
        inference_ms=41.0,
        frame_age_s=0.2,
        places={
            "door": {"kind": "line", "labels": {"bee": total}},
            "entrance": {"kind": "zone", "labels": {"bee": {"in": 1204, "out": 1187, "inside": 3}}},
        },
    )
    page.select_option("#traffic-hours", "6")
    page.select_option("#traffic-hours", "24")
    page.wait_for_selector("#traffic-chart .bar-in")
    page.get_by_text("1,204").first.wait_for()
    page.wait_for_selector(".layer-boxes .box")
    page.evaluate("document.activeElement.blur()")


# ---- accessibility


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1440])
@pytest.mark.usefixtures("no_places")
def test_names_contrast_and_size_of_everything(
    agent: PageAgent, signed_in: Open, open_page: Open, scheme: str, width: int
) -> None:
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    page = signed_in(**options)
    page.wait_for_selector("#add-zone")
    page.focus("#add-zone")
    wait_saved(page, lambda: page.keyboard.press("Enter"))
    page.focus("#threshold-slider")
    page.keyboard.press("ArrowLeft")
    change_state(page, state="degraded", reasons=["broker: refuses the connection"])
    page.wait_for_selector("#notice p")
    check_accessibility(page)
    check_accessibility(open_page(agent.url, expected=(NO_SESSION,), **options))


def check_accessibility(page: Page) -> None:
    page.wait_for_selector("main:visible")
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    controls = {"button", "textbox", "slider", "combobox", "link", "meter", "image", "table", "region"}
    nameless = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in controls
        and not node.get("name", {}).get("value", "").strip()
    ]
    assert nameless == []
    found = page.evaluate((Path(__file__).parent / "accessibility.js").read_text(encoding="utf-8"))
    assert found == {"contrast": [], "small": [], "overflow": 0, "headings": [], "ids": []}
