# Another registry in charge, and what is made of its answers.

defmodule Senza.ShadowTest do
  use ExUnit.Case
  import ExUnit.CaptureLog
  import Senza.Helpers
  alias Senza.SensorRegistry

  setup :two_nodes

  setup do
    start_supervised!({Registry, keys: :unique, name: Existing})
    :ok
  end

  test "a Registry answers, and disagreements are told" do
    {:ok, _} = Registry.register(Existing, "both", nil)
    {:ok, _} = Registry.register(Existing, "only there", nil)
    :ok = Senza.shadow(:a, registry: Existing, on_disagreement: self())
    assert Senza.mode(:a) == :shadow
    for id <- ["both", "only here"], do: :ok = SensorRegistry.register({:a, id}, self())

    assert SensorRegistry.whereis({:a, "both"}) == {:ok, self()}
    refute_received {:senza_disagreement, _}
    assert SensorRegistry.whereis({:a, "only there"}) == {:ok, self()}
    assert_received {:senza_disagreement, %{sensor: "only there", existing: "a", senza: nil}}
    assert SensorRegistry.whereis({:a, "only here"}) == {:error, :not_found}
    assert_received {:senza_disagreement, %{sensor: "only here", existing: nil, senza: "a"}}

    assert %{compared: 3, missing: 1, extra: 1, other_node: 0, samples: [first, second]} = Senza.comparison(:a)
    assert %{sensor: "only there", existing: "a", senza: nil, at: _} = first
    assert %{sensor: "only here"} = second
    assert :a |> Senza.compare() |> Enum.map(& &1.sensor) |> Enum.sort() == ["only here", "only there"]

    assert :shadow = Senza.switch(:a, :cluster)
    assert SensorRegistry.whereis({:a, "only here"}) == {:ok, self()}
    assert_raise ArgumentError, ~r/no registry is in charge/, fn -> Senza.compare(:a) end
  end

  test "sensors of other nodes are not held against a Registry" do
    :ok = Senza.shadow(:a, registry: Existing, on_disagreement: self())
    :ok = SensorRegistry.register({:b, "s"}, self())
    eventually(fn -> match?({:ok, {"b", _}}, Senza.owner(:a, "s")) end)
    assert SensorRegistry.whereis({:a, "s"}) == {:error, :not_found}
    assert Senza.compare(:a) == []
    refute_received {:senza_disagreement, _}
    # But that it has one of its own is.
    {:ok, _} = Registry.register(Existing, "s", nil)
    assert SensorRegistry.whereis({:a, "s"}) == {:ok, self()}
    assert_received {:senza_disagreement, %{sensor: "s", existing: "a", senza: "b"}}
  end

  test "a registry of the whole cluster is a function" do
    existing = fn
      "here" -> {:ok, self()}
      "there" -> {:remote, "b"}
      "odd" -> :odd
      _ -> {:error, :not_found}
    end

    me = self()
    tell = &send(me, {:told, &1})
    :ok = Senza.shadow(:a, existing: existing, ids: fn -> ["here", "there"] end, on_disagreement: tell)
    :ok = SensorRegistry.register({:b, "there"}, self())
    :ok = SensorRegistry.register({:b, "elsewhere"}, self())
    eventually(fn -> match?({:ok, {"b", _}}, Senza.owner(:a, "elsewhere")) end)
    assert SensorRegistry.whereis({:a, "there"}) == {:remote, "b"}
    refute_received {:told, _}
    assert SensorRegistry.whereis({:a, "elsewhere"}) == {:error, :not_found}
    assert_received {:told, %{sensor: "elsewhere", existing: nil, senza: "b"}}
    assert :a |> Senza.compare() |> Enum.map(& &1.sensor) |> Enum.sort() == ["elsewhere", "here"]
    assert_raise ArgumentError, ~r/must answer/, fn -> SensorRegistry.whereis({:a, "odd"}) end

    :ok = Senza.shadow(:a, existing: existing)
    assert_raise ArgumentError, ~r/needs the shadow's option ids/, fn -> Senza.compare(:a) end
    assert_raise ArgumentError, ~r/a shadow needs/, fn -> Senza.shadow(:a, []) end
    assert Senza.mode(:a) == :shadow
  end

  test "the log is told at most once a second" do
    start_supervised!({Senza, name: :c, node: "c", mode: :shadow, shadow: [registry: Existing]})
    {:ok, _} = Registry.register(Existing, "s", nil)

    log =
      capture_log(fn ->
        for _ <- 1..100, do: {:ok, _} = SensorRegistry.whereis({:c, "s"})
      end)

    assert log =~ ~s(senza disagrees on "s": on c by the registry, nowhere by senza)
    assert log |> String.split("disagrees") |> length() <= 5
  end
end
