# What all tests share. Deadlines are long: a machine may be slow, or stand still for a while.

defmodule Senza.Helpers do
  import ExUnit.Assertions

  @deadline_ms 60_000

  @doc "Waits for a condition; answers what it answered."
  def eventually(condition, left_ms \\ @deadline_ms) do
    deadline = System.monotonic_time(:millisecond) + left_ms
    wait(condition, deadline)
  end

  defp wait(condition, deadline) do
    result = condition.()

    cond do
      result ->
        result

      System.monotonic_time(:millisecond) > deadline ->
        flunk("waited in vain")

      true ->
        receive do
        after
          2 -> wait(condition, deadline)
        end
    end
  end

  @doc "The next message of a feed, unacknowledged."
  def batch(feed) do
    receive do
      {:senza, ^feed, message} -> message
    after
      @deadline_ms -> flunk("no message of the feed")
    end
  end

  @doc "Messages of a feed, acknowledged, until so many items came."
  def items(feed, count, before \\ []) do
    if length(before) >= count do
      before
    else
      batch = batch(feed)
      assert is_list(batch), "the feed ended after #{inspect(before)}"
      Senza.ack(feed)
      items(feed, count, before ++ batch)
    end
  end

  @doc "A process that stays until it is told to end; answers it once it has run `first`."
  def stay(first \\ fn -> :ok end) do
    {me, ready} = {self(), make_ref()}

    pid =
      spawn(fn ->
        send(me, {ready, first.()})
        receive do: (:end -> :ok)
      end)

    receive do: ({^ready, result} -> {pid, result})
  end

  @doc "Ends a process and waits until it is gone."
  def finish(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    receive do: ({:DOWN, ^monitor, _, _, _} -> :ok)
  end

  @doc "Two nodes of one cluster in this VM, named `a` and `b`."
  def two_nodes(_context) do
    start = fn name, options ->
      ExUnit.Callbacks.start_supervised!({Senza, [name: name, node: "#{name}"] ++ options})
    end

    start.(:a, [])
    start.(:b, connect: Senza.listening(:a))
    :ok
  end
end

ExUnit.start(timeout: 180_000)
