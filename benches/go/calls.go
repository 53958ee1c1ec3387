// Calls by gRPC: a client and its server, in this process, over the loopback interface.
package main

import (
	"context"
	"errors"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"alts-interop/common"
)

const (
	unaryMethod  = "/alts.bench.Echo/Unary"
	streamMethod = "/alts.bench.Echo/Stream"
)

type calls struct{ channel *grpc.ClientConn }

// newCalls starts a server and connects to it; without security, in plaintext.
func newCalls(security *security) (calls, error) {
	ofServer := []grpc.ServerOption{grpc.ForceServerCodec(common.Codec{})}
	ofClient := []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.ForceCodec(common.Codec{}), grpc.MaxCallRecvMsgSize(common.AnySize)),
		grpc.WithInitialConnWindowSize(4 << 20),
		grpc.WithInitialWindowSize(4 << 20),
	}
	if security == nil {
		ofClient = append(ofClient, grpc.WithTransportCredentials(insecure.NewCredentials()))
	} else {
		ofServer = append(ofServer, grpc.Creds(security.server))
		ofClient = append(ofClient, grpc.WithTransportCredentials(security.client))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return calls{}, err
	}
	server := grpc.NewServer(ofServer...)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "alts.bench.Echo",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: echo}},
		Streams:     []grpc.StreamDesc{{StreamName: "Stream", Handler: download, ServerStreams: true}},
	}, struct{}{})
	go server.Serve(withoutPacingListener{listener})
	channel, err := grpc.NewClient(listener.Addr().String(), append(ofClient, grpc.WithContextDialer(dial))...)
	if err != nil {
		return calls{}, err
	}
	// Connects, and says at once what is wrong.
	made := calls{channel}
	return made, made.unary(1, 1)
}

func (calls calls) unary(size, count int) error {
	request := make([]byte, size)
	for range count {
		var response []byte
		if err := calls.channel.Invoke(context.Background(), unaryMethod, request, &response); err != nil {
			return err
		}
	}
	return nil
}

// stream is one call; the request says, by its length, how many messages are wanted.
func (calls calls) stream(size, count int) error {
	call, err := calls.channel.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, streamMethod)
	if err != nil {
		return err
	}
	if err := errors.Join(call.SendMsg(make([]byte, count)), call.CloseSend()); err != nil {
		return err
	}
	for {
		var message []byte
		if err := call.RecvMsg(&message); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		} else if len(message) != size {
			return errors.New("the server's messages have another size")
		}
	}
}

func echo(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var request []byte
	err := decode(&request)
	return request, err
}

var largeMessage = make([]byte, 1<<20)

func download(_ any, call grpc.ServerStream) error {
	var order []byte
	if err := call.RecvMsg(&order); err != nil {
		return err
	}
	for range order {
		if err := call.SendMsg(largeMessage); err != nil {
			return err
		}
	}
	return nil
}

func dial(call context.Context, address string) (net.Conn, error) {
	socket, err := new(net.Dialer).DialContext(call, "tcp", address)
	if err != nil {
		return nil, err
	}
	return socket, withoutPacing(socket.(*net.TCPConn))
}

type withoutPacingListener struct{ net.Listener }

func (listener withoutPacingListener) Accept() (net.Conn, error) {
	socket, err := listener.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return socket, withoutPacing(socket.(*net.TCPConn))
}
