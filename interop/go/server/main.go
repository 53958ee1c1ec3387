// The test service on grpc-go, over ALTS: server --listen IP:PORT --handshaker IP:PORT [--max-frame-size BYTES]
//
// Prints one line when it listens, and serves until it is ended. README.md beside the harness describes the service.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/alts"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"alts-interop/common"
)

func main() {
	listen := flag.String("listen", "", "where to serve")
	handshaker := flag.String("handshaker", "", "where the handshaker service is")
	frameSize := flag.Uint("max-frame-size", 0, "the largest frame to write, in bytes")
	flag.Parse()
	if err := common.MaxFrameSize(*frameSize); err != nil {
		log.Fatal(err)
	}

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(
		grpc.Creds(alts.NewServerCreds(&alts.ServerOptions{HandshakerServiceAddress: *handshaker})),
		grpc.ForceServerCodec(common.Codec{}),
		grpc.MaxRecvMsgSize(common.AnySize),
		grpc.MaxSendMsgSize(common.AnySize),
	)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: common.Service,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Echo", Handler: unary(echo)},
			{MethodName: "Peer", Handler: unary(peerView)},
			{MethodName: "Restricted", Handler: unary(restricted)},
		},
		Streams: []grpc.StreamDesc{
			{StreamName: "EchoStream", Handler: echoStream, ServerStreams: true, ClientStreams: true},
			{StreamName: "Download", Handler: download, ServerStreams: true},
			{StreamName: "Upload", Handler: upload, ClientStreams: true},
		},
	}, struct{}{})
	fmt.Printf("listening on %s\n", *listen)
	log.Fatal(server.Serve(listener))
}

// unary is what generated code would be around a method.
func unary(method func(context.Context, []byte) ([]byte, error)) grpc.MethodHandler {
	return func(_ any, call context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var request []byte
		if err := decode(&request); err != nil {
			return nil, err
		}
		return method(call, request)
	}
}

func echo(_ context.Context, request []byte) ([]byte, error) {
	return request, nil
}

// peerView says what ALTS proved to this server about the client.
func peerView(call context.Context, _ []byte) ([]byte, error) {
	client, _ := peer.FromContext(call)
	view, err := common.View(client)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	return json.Marshal(view)
}

// restricted serves the account that the request names, and no other.
func restricted(call context.Context, request []byte) ([]byte, error) {
	if err := alts.ClientAuthorizationCheck(call, []string{string(request)}); err != nil {
		return nil, err
	}
	return []byte{}, nil
}

func echoStream(_ any, stream grpc.ServerStream) error {
	for {
		var message []byte
		if err := stream.RecvMsg(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(message); err != nil {
			return err
		}
	}
}

// download sends as many messages of that size as the request orders.
func download(_ any, stream grpc.ServerStream) error {
	var request []byte
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	var order common.Order
	if err := json.Unmarshal(request, &order); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	for index := range order.Messages {
		if err := stream.SendMsg(common.Message(index, order.Size)); err != nil {
			return err
		}
	}
	return nil
}

// upload says what it has received.
func upload(_ any, stream grpc.ServerStream) error {
	tally := common.NewTally()
	for {
		var message []byte
		if err := stream.RecvMsg(&message); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		tally.Add(message)
	}
	answer, err := json.Marshal(tally)
	if err != nil {
		return err
	}
	return stream.SendMsg(answer)
}
