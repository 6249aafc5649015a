import pytest
from beeagent.errors import InputError
from beeagent.mqtt import BrokerAddress, Embedded, NoBroker, parse_broker
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("embedded", Embedded()),
        ("none", NoBroker()),
        ("mqtt://hive.local", BrokerAddress("hive.local", 1883, tls=False)),
        ("mqtts://hive.local", BrokerAddress("hive.local", 8883, tls=True)),
        ("MQTT://Hive.local:1884/", BrokerAddress("hive.local", 1884, tls=False)),
        ("mqtt://127.0.0.1:1883", BrokerAddress("127.0.0.1", 1883, tls=False)),
        ("mqtts://[2001:db8::1]", BrokerAddress("2001:db8::1", 8883, tls=True)),
        ("mqtt://bee@[::1]:1999", BrokerAddress("::1", 1999, tls=False, username="bee")),
        ("mqtts://bee%40home@broker:443", BrokerAddress("broker", 443, tls=True, username="bee@home")),
    ],
)
def test_addresses_that_are_understood(text: str, expected: object) -> None:
    assert parse_broker(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hive.local",
        "http://hive.local",
        "mqtt:hive.local",
        "mqtt://",
        "mqtt://:1883",
        "mqtt://hive:0",
        "mqtt://hive:65536",
        "mqtt://hive:",
        "mqtt://hive:port",
        "mqtt://hive/topic",
        "mqtt://hive?x=1",
        "mqtt://hive#x",
        "mqtt://hi ve",
        "mqtt://hive\n",
        "mqtt://[::1",
        "mqtt://@hive",
        "mqtt://%00@hive",
        "mqtt://%ff@hive",
        "mqtt://a..b",
        "Embedded ",
    ],
)
def test_addresses_that_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(InputError, match=r"give .*(mqtt://127\.0\.0\.1:1883|from 1 to 65535)|'@' out"):
        parse_broker(text)


@pytest.mark.parametrize(
    "text",
    [
        "mqtt://bee:s3cret@hive",
        "mqtts://bee:s3cr@et@hive:1",
        "http://bee:s3cret@hive",
        "bee:s3cret@hive",
        "bee:a://s3cret@hive",
    ],
)
def test_a_password_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_broker(text)
    assert "s3cr" not in str(caught.value)
    if text.startswith("mqtt"):
        assert "BEEAGENT_MQTT_PASSWORD" in str(caught.value)
        assert "mqtt_password_file" in str(caught.value)


@given(
    st.text() | st.text().map("mqtt://{}".format) | st.text(alphabet="abc.:[]@%/0123456789").map("mqtts://{}".format)
)
def test_any_text_is_parsed_or_refused_in_one_line(text: str) -> None:
    try:
        found = parse_broker(text)
    except InputError as error:
        assert str(error).isprintable()  # noqa: PT017 - not every text is refused
        return
    if isinstance(found, BrokerAddress):
        assert found.host
        assert 1 <= found.port <= 65535
        bare = BrokerAddress(found.host, found.port, tls=found.tls)
        assert parse_broker(str(found)) == bare
