# Carries messages by topic to subscribers on all nodes, in the manner of Phoenix.PubSub with its adapter PG2, from what
# OTP and Elixir bring: a `Registry` with duplicate keys knows a node's own subscribers, and a relay process per node,
# joined in a `:pg` group, hands on what comes from other nodes. A broadcast goes to every other node, whether anybody
# subscribes there or not. Knows nothing of readings.

defmodule Bus do
  @registry Bus.Subscribers
  @scope :bus

  # On each node, once.
  def start do
    # One partition: with more, a dispatch looks into each.
    BeamNode.stay(fn ->
      {:ok, _} = Registry.start_link(keys: :duplicate, name: @registry, partitions: 1)
      {:ok, _} = :pg.start_link(@scope)
    end)

    BeamNode.stay(&join/0, &relay/0)
  end

  # The caller gets what is broadcast to this topic from now on.
  def subscribe(topic), do: {:ok, _} = Registry.register(@registry, topic, nil)

  # How many other nodes a broadcast of this one reaches.
  def reach, do: Enum.count(:pg.get_members(@scope, :relays), &(node(&1) != node()))

  def broadcast(topic, message) do
    dispatch(topic, message)
    forward(:pg.get_members(@scope, :relays), {topic, message})
  end

  defp forward([], _), do: :ok

  defp forward([relay | relays], message) do
    # Waits where the connection is full, and does not make one that is not there.
    if node(relay) != node(), do: :erlang.send(relay, message, [:noconnect])
    forward(relays, message)
  end

  defp join do
    # What waits here is not copied by a collection, and a burst does not wait for the turn of others.
    Process.flag(:message_queue_data, :off_heap)
    Process.flag(:priority, :high)
    :ok = :pg.join(@scope, :relays, self())
  end

  defp relay do
    receive do: ({topic, message} -> dispatch(topic, message))
    relay()
  end

  defp dispatch(topic, message) do
    Registry.dispatch(@registry, topic, &hand_over(&1, message))
  end

  defp hand_over([], _), do: :ok

  defp hand_over([{subscriber, _} | entries], message) do
    send(subscriber, message)
    hand_over(entries, message)
  end
end
