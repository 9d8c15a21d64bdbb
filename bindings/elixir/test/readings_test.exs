# Readings in and out on one node: every kind of value, times, many at once, and what is refused.

defmodule Senza.ReadingsTest do
  use ExUnit.Case

  setup do
    start_supervised!({Senza, node: "a", history_max: 300})
    {:ok, watch} = Senza.register("watch 1", type: "watch", meta: %{room: 3})
    {:ok, watch: watch}
  end

  @values [
    1.5,
    -0.0,
    72,
    -0x8000_0000_0000_0000,
    0x7FFF_FFFF_FFFF_FFFF,
    true,
    false,
    "Größe",
    "",
    :nan,
    :infinity,
    :neg_infinity,
    {:bytes, <<255, 0, 1>>},
    {:bytes, ""},
    {:vector, [1.0, 0.5, :nan]},
    {:vector, []},
    %{"a" => [1, nil, %{"b" => "ü"}], "c" => true},
    %{},
    [1, "two", 3.5],
    []
  ]

  test "values come out as they went in", %{watch: watch} do
    for value <- @values, value != {:vector, [1.0, 0.5, :nan]} do
      assert {:ok, _} = Senza.put("watch 1", "v", value)
      assert {:ok, %Senza.Reading{value: ^value}} = Senza.latest("watch 1", "v")
      assert {:ok, _} = Senza.Sensor.put(watch, "by handle", value)
      assert {:ok, %Senza.Reading{value: ^value}} = Senza.latest("watch 1", "by handle")
    end

    assert {:ok, 1} = Senza.put("watch 1", "numbers", {:vector, [1, 0.5]})
    assert {:ok, %{value: {:vector, [1.0, 0.5]}}} = Senza.latest("watch 1", "numbers")
    assert {:ok, 1} = Senza.put("watch 1", "colour", %{colour: :red})
    assert {:ok, %{value: %{"colour" => "red"}}} = Senza.latest("watch 1", "colour")
  end

  test "a reading tells whose, when and its number", %{watch: watch} do
    assert {:ok, 1} = Senza.Sensor.put(watch, "pulse", 72, time: ~U[2026-01-01 00:00:00.000001Z])
    assert {:ok, reading} = Senza.latest("watch 1", "pulse")
    assert %Senza.Reading{sensor: "watch 1", attribute: "pulse", type: "watch", node: "a", seq: 1} = reading
    assert Senza.Reading.datetime(reading) == ~U[2026-01-01 00:00:00.000001Z]
    assert reading.epoch == Senza.Sensor.epoch(watch)
    assert reading.received > reading.time
    assert Senza.Sensor.id(watch) == "watch 1"
    assert Senza.Sensor.owner(watch) == self()
    assert {:error, :not_found} = Senza.latest("watch 1", "other")
    assert {:error, :not_found} = Senza.latest("other", "pulse")
  end

  test "many are put in order, on either scheduler" do
    for count <- [0, 1, 256, 257, 5_000] do
      attribute = "of #{count}"
      assert :ok = Senza.put_many(for n <- 1..count//1, do: {"watch 1", attribute, n, n})
      wanted = for n <- max(1, count - 299)..count//1, do: n

      if count > 0 do
        {:ok, readings} = Senza.history("watch 1", attribute, last: 1_000)
        assert Enum.map(readings, & &1.value) == wanted
        assert Enum.map(readings, & &1.seq) == wanted
      end
    end

    assert :ok = Senza.put_many([{"watch 1", "at", 1, ~U[2026-01-01 00:00:00Z]}, {"watch 1", "at", 2, 3}])
    assert {:ok, %{time: 1_767_225_600_000_000}} = Senza.latest("watch 1", "at")

    # More text than a normal scheduler takes: nothing is put twice.
    text = String.duplicate("x", 60_000)
    assert :ok = Senza.put_many(for n <- 1..4, do: {"watch 1", "text", text, n})
    assert {:ok, %{seq: 4}} = Senza.latest("watch 1", "text")
  end

  test "those that are refused are told by their place, the others are taken" do
    readings = [{"watch 1", "a", 1}, {"nobody's", "a", 2}, {"watch 1", "a", 3}, {"watch 1", "", 4}]
    assert {:refused, [{1, missing}, {3, nameless}]} = Senza.put_many(readings)
    assert %Senza.Error{reason: :not_found, sensor: "nobody's"} = missing
    assert %Senza.Error{reason: :invalid_id} = nameless
    assert {:ok, %{value: 3, seq: 2}} = Senza.latest("watch 1", "a")
  end

  test "history is within its span" do
    for n <- 1..10, do: {:ok, _} = Senza.put("watch 1", "n", n, time: n * 1_000_000)
    values = fn options -> "watch 1" |> Senza.history("n", options) |> elem(1) |> Enum.map(& &1.value) end
    assert values.(last: 3) == [8, 9, 10]
    assert values.(from: 4_000_000, to: DateTime.from_unix!(6)) == [4, 5, 6]
    assert {:ok, []} = Senza.history("watch 1", "never")
    assert {:error, %Senza.Error{reason: :not_found, sensor: "x"}} = Senza.history("x", "n")
  end

  test "what is too large names its size and the rule" do
    for value <- [
          String.duplicate("x", 65_537),
          {:bytes, :binary.copy(<<0>>, 65_537)},
          {:vector, List.duplicate(0.0, 4_097)},
          %{"text" => String.duplicate("x", 65_530)},
          List.duplicate(1, 100_000)
        ] do
      assert {:error, %Senza.Error{reason: :invalid_value, message: message}} = Senza.put("watch 1", "v", value)
      assert message =~ ~r/value has a size of \d+, at most \d+ is allowed/
    end

    long = String.duplicate("x", 257)
    assert {:error, %Senza.Error{reason: :invalid_id, message: message}} = Senza.register(long)
    assert message =~ "sensor id must have 1 to 256 bytes, this one has 257"
    assert {:error, %Senza.Error{reason: :invalid_id}} = Senza.put("watch 1", String.duplicate("y", 65), 1)
    longer = String.duplicate("x", 1_000_000)
    assert {:error, %Senza.Error{reason: :invalid_id, message: message}} = Senza.put(longer, "v", 1)
    assert message =~ "a sensor's id has 1000000 bytes"
    assert Senza.SensorRegistry.whereis_name(longer) == :undefined
  end

  test "what is no value raises and names the rule" do
    deep = Enum.reduce(1..200, 1, fn _, inner -> [inner] end)

    for value <-
          [nil, :red, self(), make_ref(), {1, 2}, {:bytes, 1}, {:vector, ["x"]}, {:vector, [1 | 2]}, <<1::3>>] ++
            [0x8000_0000_0000_0000, <<255>>, [self()], [1 | 2], %{{1} => 2}, %{a: <<255>>}, ~D[2026-01-01], deep] ++
            [fn -> 1 end, %{"n" => 0x8000_0000_0000_0000}] do
      error = assert_raise ArgumentError, fn -> Senza.put("watch 1", "v", value) end
      assert error.message =~ "must" or error.message =~ "struct"
    end

    assert_raise ArgumentError, ~r/a sensor's id must be UTF-8/, fn -> Senza.put(<<255>>, "v", 1) end
    assert_raise ArgumentError, ~r/a sensor's id must be a binary, got: 5/, fn -> Senza.put(5, "v", 1) end
    assert_raise ArgumentError, ~r/an attribute's id must be a binary/, fn -> Senza.put("watch 1", :v, 1) end
    assert_raise ArgumentError, ~r/a time must be a DateTime/, fn -> Senza.put("watch 1", "v", 1, time: 1.5) end
    assert_raise ArgumentError, ~r/options of a put/, fn -> Senza.put("watch 1", "v", 1, at: 1) end
    assert_raise ArgumentError, ~r/a reading must be {sensor/, fn -> Senza.put_many([{"watch 1", "v"}]) end
    assert_raise ArgumentError, ~r/readings must be a list/, fn -> Senza.put_many([{"watch 1", "v", 1} | :x]) end
    assert_raise ArgumentError, ~r/readings must be a list/, fn -> Senza.put_many(:x) end
    assert_raise ArgumentError, ~r/a time must be a DateTime/, fn -> Senza.put_many([{"watch 1", "v", 1, %{}}]) end
    assert_raise ArgumentError, ~r/a time must be a DateTime/, fn -> Senza.put_many([{"watch 1", "v", 1, "now"}]) end

    assert_raise ArgumentError, ~r/got: {<<"watch 1">>,{\[1,2\|3\],a map of 1 keys}}/, fn ->
      Senza.put_many([{"watch 1", {[1, 2 | 3], %{a: 1}}}])
    end

    for {odd, shown} <- [
          {List.duplicate(:x, 1_000_000), ~r/\[x,x,.*…$/},
          {String.duplicate("x", 100_000), ~r/a binary of 100000 bytes$/},
          {Integer.pow(2, 100_000), ~r/an integer of more than 64 bits$/},
          {Enum.reduce(1..1_000, 1, fn _, inner -> [inner] end), ~r/\[\[\[.*…$/},
          {{1, {2, {}}, <<1::3>>}, ~r/{1,{2,{}},a bitstring}$/},
          {{1, 2, 3, 4, 5}, ~r/a tuple of more than 4$/}
        ] do
      error = assert_raise ArgumentError, fn -> Senza.put("watch 1", "v", 1, time: odd) end
      assert error.message =~ shown
      assert String.length(error.message) < 200
    end

    assert_raise ArgumentError, ~r/meta must be a map/, fn -> Senza.register("m", meta: "x") end
    assert_raise ArgumentError, ~r/no node of senza named :nowhere/, fn -> Senza.put(:nowhere, "s", "v", 1) end
    assert_raise ArgumentError, ~r/a node must be/, fn -> Senza.put(make_ref(), "s", "v", 1) end
  end

  test "what a sensor is told to be may be large" do
    meta = %{text: String.duplicate("x", 60_000)}
    assert {:ok, sensor} = Senza.register("large", meta: meta)
    assert :ok = Senza.Sensor.declare(sensor, for(n <- 1..20, do: "#{n}"))
    too_large = %{text: String.duplicate("x", 70_000)}
    assert {:error, %Senza.Error{reason: :invalid_value}} = Senza.register("larger", meta: too_large)
    assert {:error, :not_found} = Senza.SensorRegistry.whereis("larger")
  end

  test "a handle knows any number of attributes, of any length", %{watch: watch} do
    attributes = for n <- 1..20, do: String.duplicate("ä", n)

    for round <- 1..3, attribute <- attributes do
      assert {:ok, ^round} = Senza.Sensor.put(watch, attribute, "#{attribute} #{round}")
    end

    for attribute <- attributes do
      value = "#{attribute} 3"
      assert {:ok, %{value: ^value, seq: 3}} = Senza.latest("watch 1", attribute)
    end

    assert {:error, %Senza.Error{reason: :invalid_id}} = Senza.Sensor.put(watch, "", 1)
  end

  test "a handle outlives its registration, and says so", %{watch: watch} do
    assert Senza.Sensor.leave(watch)
    refute Senza.Sensor.leave(watch)
    assert {:error, %Senza.Error{reason: :not_registered}} = Senza.Sensor.put(watch, "v", 1)
    # Registered anew it is another claim.
    {:ok, again} = Senza.register("watch 1")
    assert {:error, %Senza.Error{reason: :not_registered}} = Senza.Sensor.put(watch, "v", 1)
    assert {:ok, 1} = Senza.Sensor.put(again, "v", 1)
  end

  test "whatever belongs to a stopped node is closed", %{watch: watch} do
    ref = Senza.ref()
    {:ok, feed} = Senza.subscribe("**")
    stop_supervised!(Senza)
    assert_receive {:senza, ^feed, :closed}, 60_000

    for call <- [
          fn -> Senza.put(ref, "watch 1", "v", 1) end,
          fn -> Senza.put_many(ref, [{"watch 1", "v", 1}]) end,
          fn -> Senza.latest(ref, "watch 1", "v") end,
          fn -> Senza.history(ref, "watch 1", "v") end,
          fn -> Senza.register(ref, "x") end,
          fn -> Senza.owner(ref, "watch 1") end,
          fn -> Senza.subscribe(ref, "**") end,
          fn -> Senza.listen(ref) end,
          fn -> Senza.nodes(ref) end,
          fn -> Senza.mode(ref) end,
          fn -> Senza.demand(ref, "watch 1") end,
          fn -> Senza.Sensor.put(watch, "v", 1) end,
          fn -> Senza.Sensor.put_wait(watch, "v", 1) end,
          fn -> Senza.Sensor.leave(watch) end
        ] do
      assert {:error, %Senza.Error{reason: :closed, message: "the node is closed"}} = call.()
    end

    assert :ok = Senza.ack(feed)
    assert :ok = Senza.unsubscribe(feed)
    assert %{offered: 0} = Senza.ledger(feed)
    assert_raise ArgumentError, ~r/no node of senza named Senza/, fn -> Senza.put("watch 1", "v", 1) end
  end
end
