# What the cluster wants of a sensor, as it changes: a state that is told once, the newest first, until its claim ends.

defmodule Senza.DemandTest do
  use ExUnit.Case
  import Senza.Helpers
  alias Senza.SensorRegistry

  setup :two_nodes

  setup do
    {:ok, watch} = Senza.register(:a, "watch 1", [])
    :ok = Senza.Sensor.declare(watch, ["pulse"])
    {:ok, watch: watch}
  end

  # The next demand, acknowledged.
  defp told(feed) do
    assert {:demand, "watch 1", demand} = batch(feed)
    Senza.ack(feed)
    demand
  end

  defp interval(micros), do: %{pace: :interval, interval_us: micros, deadband: nil, heartbeat_ms: 0}

  test "it is told as it is, and as subscriptions of any node come, change and go", %{watch: watch} do
    {:ok, feed} = Senza.Sensor.follow_demand(watch)
    assert told(feed) == nil
    {:ok, slow} = Senza.subscribe(:b, "watch%201/*", max_rate: 2, deadband: 1.5, heartbeat_ms: 3_000)
    assert told(feed) == %{interval(500_000) | deadband: {:absolute, 1.5}, heartbeat_ms: 3_000}
    {:ok, fast} = Senza.subscribe(:a, "watch%201/*")
    assert %{pace: :every, interval_us: 0, deadband: nil} = told(feed)
    assert Senza.demand(:a, "watch 1").pace == :every
    :ok = Senza.unsubscribe(fast)
    assert %{pace: :interval} = told(feed)
    {:ok, _} = Senza.subscribe(:a, "watch%201/*", pace: :latest, deadband_percent: 5)
    :ok = Senza.unsubscribe(slow)
    # What was between may have been told or not; the last one is.
    eventually(fn -> match?(%{pace: :latest, deadband: {:percent, 5.0}}, told(feed)) end)
  end

  test "a slow process has one message, and then the newest", %{watch: watch} do
    {:ok, feed} = Senza.Sensor.follow_demand(watch)
    assert {:demand, "watch 1", nil} = batch(feed)
    {:ok, other} = Senza.Sensor.follow_demand(watch)

    # Each change is known to the follower that keeps up, so that the slow one's is too.
    assert told(other) == nil

    feeds =
      for rate <- [1, 2, 4, 5, 10] do
        {:ok, subscription} = Senza.subscribe(:a, "watch%201/*", max_rate: rate)
        expected = interval(div(1_000_000, rate))
        assert told(other) == expected
        subscription
      end

    refute_received {:senza, ^feed, _}
    Senza.ack(feed)
    assert told(feed) == interval(100_000)

    # There and back again is nothing new.
    for subscription <- feeds, do: :ok = Senza.unsubscribe(subscription)
    assert told(feed) == nil
    assert {:demand, _, nil} = eventually(fn -> match?({:demand, _, nil}, message = batch(other)) && message end)
  end

  test "who goes and comes back while nobody looks was not there", %{watch: watch} do
    {:ok, slow} = Senza.Sensor.follow_demand(watch)
    {:ok, quick} = Senza.Sensor.follow_demand(watch)
    assert {told(quick), batch(slow)} == {nil, {:demand, "watch 1", nil}}
    {:ok, subscription} = Senza.subscribe(:a, "watch%201/*")
    assert %{pace: :every} = told(quick)
    :ok = Senza.unsubscribe(subscription)
    assert told(quick) == nil
    Senza.ack(slow)
    {:ok, _} = Senza.subscribe(:a, "watch%201/*", max_rate: 1)
    assert told(quick) == interval(1_000_000)
    assert told(slow) == interval(1_000_000)
  end

  test "it ends with the registration, the sensor's process, a takeover and the node", %{watch: watch} do
    {:ok, by_handle} = Senza.Sensor.follow_demand(watch)
    {:ok, by_id} = Senza.follow_demand(:a, "watch 1", [])
    assert {told(by_handle), told(by_id)} == {nil, nil}
    assert Senza.Sensor.leave(watch)
    # Nobody wanted it before either.
    assert {batch(by_handle), batch(by_id)} == {:closed, :closed}
    assert {:error, %Senza.Error{reason: :not_registered}} = Senza.Sensor.follow_demand(watch)

    {pid, :ok} = stay(fn -> SensorRegistry.register({:a, "watch 1"}, self()) end)
    {:ok, feed} = Senza.follow_demand(:a, "watch 1")
    assert {:error, %Senza.Error{reason: :not_registered}} = Senza.Sensor.follow_demand(watch)
    # Also where its first message is still unread.
    assert {:demand, _, nil} = batch(feed)
    finish(pid)
    assert batch(feed) == :closed

    {:ok, watch} = Senza.register(:a, "watch 1", [])
    {:ok, feed} = Senza.follow_demand(:a, "watch 1")
    assert told(feed) == nil
    {:ok, there} = Senza.register(:b, "watch 1", conflict: :force)
    assert batch(feed) == :closed
    # That it is beaten may be heard before the claim that beat it.
    not_owner = &match?({:error, %Senza.Error{reason: :not_owner, node: "b"}}, &1)
    eventually(fn -> not_owner.(Senza.Sensor.follow_demand(watch)) end)
    assert {:error, %Senza.Error{reason: :not_owner, node: "b"}} = Senza.follow_demand(:a, "watch 1")

    {:ok, feed} = Senza.Sensor.follow_demand(there)
    assert told(feed) == nil
    stop_supervised!(:b)
    assert batch(feed) == :closed
    assert {:error, %Senza.Error{reason: :closed}} = Senza.Sensor.follow_demand(there)
  end

  test "it ends by unsubscribing, and nothing of it is left in the mailbox", %{watch: watch} do
    for _ <- 1..200 do
      {:ok, feed} = Senza.Sensor.follow_demand(watch)
      assert :ok = Senza.unsubscribe(feed)
      assert :ok = Senza.unsubscribe(feed)
      refute_received {:senza, ^feed, _}
    end
  end

  test "it goes to whom it is to go, and ends with that process", %{watch: watch} do
    me = self()

    {pid, _} = stay(fn -> :ok end)
    {:ok, _} = Senza.Sensor.follow_demand(watch, to: pid)
    eventually(fn -> match?([{:senza, _, {:demand, "watch 1", nil}}], elem(Process.info(pid, :messages), 1)) end)
    finish(pid)
    assert {:error, %Senza.Error{reason: :noproc}} = Senza.Sensor.follow_demand(watch, to: pid)

    # Others' feeds go on.
    {:ok, feed} = Senza.Sensor.follow_demand(watch, to: me)
    assert told(feed) == nil
  end

  test "what cannot be followed is said" do
    assert {:error, %Senza.Error{reason: :not_found, sensor: "nobody's"}} = Senza.follow_demand(:a, "nobody's")
    assert {:error, %Senza.Error{reason: :invalid_id}} = Senza.follow_demand(:a, "")
    assert_raise ArgumentError, ~r/a sensor's id must be a binary, got: 5/, fn -> Senza.follow_demand(:a, 5) end
    assert_raise ArgumentError, ~r/to must be a pid/, fn -> Senza.follow_demand(:a, "watch 1", to: :x) end
    assert_raise ArgumentError, ~r/unknown keys \[:window\]/, fn -> Senza.follow_demand(:a, "watch 1", window: 2) end
    assert_raise ArgumentError, ~r/a sensor must be what/, fn -> Senza.Sensor.follow_demand(make_ref()) end
    {:ok, feed} = Senza.follow_demand(:a, "watch 1")
    assert_raise ArgumentError, ~r/not a subscription/, fn -> Senza.ledger(feed) end
  end
end
