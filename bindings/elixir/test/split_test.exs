# A split: two nodes that cannot hear each other for a while, and what is told when they can again.

defmodule Senza.SplitTest do
  use ExUnit.Case
  import Senza.Helpers
  alias Senza.SensorRegistry

  # All that goes between the two goes over a line that can be held: nothing is lost on it, but nothing comes.
  setup do
    alone = [zenoh: %{"scouting/gossip/enabled" => "false"}]
    start_supervised!({Senza, [name: :a, node: "a"] ++ alone})
    ["tcp/127.0.0.1:" <> port] = Senza.listening(:a)
    {line, through} = Senza.SplitTest.Line.open(String.to_integer(port))
    start_supervised!({Senza, [name: :b, node: "b", connect: "tcp/127.0.0.1:#{through}"] ++ alone})
    eventually(fn -> sees?(:a, "b") and sees?(:b, "a") end)
    {:ok, between: line}
  end

  defp sees?(node, other), do: Enum.any?(Senza.nodes(node), &(&1.node == other))

  test "which sensors two nodes had claimed, and whose they are now", %{between: line} do
    [short, detailed] = for format <- [:tuple, :map], do: elem(Senza.listen(:b, batch_max: 1, format: format), 1)
    send(line, :hold)
    for id <- ["both", "a's"], do: :ok = SensorRegistry.register({:a, id}, self())
    for id <- ["both", "b's"], do: :ok = SensorRegistry.register({:b, id}, self())
    {:ok, {"a", loser}} = Senza.owner(:a, "both")
    {:ok, {"b", winner}} = Senza.owner(:b, "both")
    assert winner > loser
    eventually(fn -> not sees?(:a, "b") and not sees?(:b, "a") end)
    before = System.system_time(:microsecond)
    send(line, :go_on)

    report = eventually(fn -> Enum.find(Senza.heals(:b), &(&1.total > 0)) end)
    assert %{node: "a", returned: true, total: 1, incarnation: incarnation, at: at} = report
    assert report.duplicates == [%{sensor: "both", winner: {"b", winner}, loser: {"a", loser}}]
    assert at in before..System.system_time(:microsecond)
    assert %{incarnation: ^incarnation} = Enum.find(Senza.nodes(:b), &(&1.node == "a"))
    assert healed(short) == {:healed, "a", 1}
    assert healed(detailed) == {:healed, report}
    # The other one tells the same of this one.
    eventually(fn -> Enum.any?(Senza.heals(:a), &match?(%{node: "b", total: 1}, &1)) end)
    eventually(fn -> SensorRegistry.whereis({:a, "both"}) == {:remote, "b"} end)
  end

  # What a feed of one event a batch tells of a heal.
  defp healed(feed) do
    case items(feed, 1) do
      [healed] when elem(healed, 0) == :healed -> healed
      _ -> healed(feed)
    end
  end
end

defmodule Senza.SplitTest.Line do
  # A process that passes on what comes to a port of its own, to another port and back, unless it is held.

  @options [:binary, active: false, nodelay: true]

  def open(port) do
    {:ok, listener} = :gen_tcp.listen(0, @options ++ [ip: {127, 0, 0, 1}])
    line = spawn_link(fn -> carry(%{ends: %{}, held: false, waiting: []}) end)
    spawn_link(fn -> accept(listener, port, line) end)
    :ok = :gen_tcp.controlling_process(listener, line)
    {:ok, through} = :inet.port(listener)
    {line, through}
  end

  defp accept(listener, port, line) do
    {:ok, one} = :gen_tcp.accept(listener)
    {:ok, other} = :gen_tcp.connect({127, 0, 0, 1}, port, @options)
    for socket <- [one, other], do: :ok = :gen_tcp.controlling_process(socket, line)
    send(line, {:ends, one, other})
    accept(listener, port, line)
  end

  defp carry(%{ends: ends, held: held, waiting: waiting} = state) do
    receive do
      {:ends, one, other} ->
        for socket <- [one, other], do: :inet.setopts(socket, active: :once)
        carry(%{state | ends: Map.merge(ends, %{one => other, other => one})})

      :hold ->
        carry(%{state | held: true})

      :go_on ->
        for {socket, bytes} <- Enum.reverse(waiting), do: pass_on(ends, socket, bytes)
        carry(%{state | held: false, waiting: []})

      # Of one that is held no more is read.
      {:tcp, socket, bytes} when held ->
        carry(%{state | waiting: [{socket, bytes} | waiting]})

      {:tcp, socket, bytes} ->
        pass_on(ends, socket, bytes)
        carry(state)

      {:tcp_closed, socket} ->
        :gen_tcp.close(ends[socket])
        carry(state)

      {:tcp_error, _, _} ->
        carry(state)
    end
  end

  defp pass_on(ends, socket, bytes) do
    :gen_tcp.send(ends[socket], bytes)
    :inet.setopts(socket, active: :once)
  end
end
