# Whatever the compiled part is called with, the VM stays: an exception or an answer, and the node works on.

defmodule Senza.HostileTest do
  use ExUnit.Case
  alias Senza.Native

  setup do
    start_supervised!({Senza, node: "a"})
    :ok
  end

  # Those that stop or switch the node, or hang on nothing.
  @left_out [:load, :module_info, :__info__, :stop, :start, :switch, :shadow, :panic, :hold]

  defp functions, do: for({name, arity} <- Native.__info__(:functions), name not in @left_out, do: {name, arity})

  defp terms do
    {:ok, sensor} = Senza.register("s #{System.unique_integer([:positive])}")
    {:ok, feed} = Senza.subscribe("**")

    [
      Senza.ref(),
      sensor,
      feed,
      make_ref(),
      self(),
      nil,
      true,
      :x,
      0,
      -1,
      1,
      1.5,
      0x1_0000_0000_0000_0000,
      "",
      "s",
      "**"
    ] ++
      [<<255>>, <<1::7>>, String.duplicate("x", 100_000), [], ["s"], [1 | 2], [{"s", "v", 1}], {}, {1, 2}, %{}] ++
      [%{a: %{b: 1}}, ~D[2026-01-01], fn -> 1 end, {[], [], [], [], []}, {["s"], ["**"], [], [], [<<255>>]}] ++
      [{{"every", 0, "none", 0.0, 0}, "drop_oldest", 0, 8, "live", 0}, {16, 1, "tuple"}, {0, 0, ""}, {0, 0, 1}]
  end

  test "terms at random" do
    seed = :rand.seed(:exsss) |> elem(1)
    terms = List.to_tuple(terms())
    calls = String.to_integer(System.get_env("HOSTILE_CALLS", "20000"))
    random = fn -> elem(terms, :rand.uniform(tuple_size(terms)) - 1) end
    functions = List.to_tuple(functions())

    answered =
      Enum.count(1..calls, fn _ ->
        {name, arity} = elem(functions, :rand.uniform(tuple_size(functions)) - 1)
        arguments = for _ <- 1..arity//1, do: random.()
        # The first argument is mostly what it is to be, so that the others are looked at.
        arguments = if arity > 1 and :rand.uniform(4) > 1, do: [Senza.ref() | tl(arguments)], else: arguments

        try do
          apply(Native, name, arguments)
        rescue
          error ->
            refute Map.get(error, :original) == :nif_panicked, "#{name}(#{inspect(arguments)}), seed #{inspect(seed)}"
            false
        else
          _ -> true
        end
      end)

    assert answered > 0
    assert Native.is_open(Senza.ref())
    {:ok, _} = Senza.register("after all")
    assert {:ok, 1} = Senza.put("after all", "v", 1)
  end

  test "a panic is an exception, and the node works on" do
    # Only a debug build has it.
    case Native.misbehaves() do
      false ->
        IO.puts("SKIPPED: the compiled part was built without the function that panics")

      true ->
        assert_raise ErlangError, ~r/nif_panicked/, fn -> Native.panic() end
        {:ok, _} = Senza.register("after all")
        assert {:ok, 1} = Senza.put("after all", "v", 1)
    end
  end

  test "handles that nobody holds are collected, and take nothing with them" do
    for n <- 1..1_000, do: {:ok, _} = Senza.register("s #{n}")
    for _ <- 1..100, do: {:ok, _} = Senza.subscribe("s%201/*")
    :erlang.garbage_collect()
    assert {:ok, 1} = Senza.put("s 1", "v", 1)
    assert Senza.SensorRegistry.whereis("s 1000") == {:ok, self()}
    for _ <- 1..100, do: assert_receive({:senza, _, [{:reading, "s 1", "v", 1, _, 1}]}, 60_000)
  end

  test "a node that nobody holds is stopped" do
    {pid, monitor} =
      spawn_monitor(fn ->
        {:ok, node} = Native.start(%{node: "b", mode: nil, zenoh: []}, self())
        {"b", ["tcp/127.0.0.1:" <> _]} = Native.describe(node)
      end)

    assert_receive {:DOWN, ^monitor, _, ^pid, :normal}, 60_000
    # Its name is free once it is gone.
    start_supervised!({Senza, name: :b, node: "b", connect: Senza.listening()})
  end
end
